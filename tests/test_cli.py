"""The command line: exit codes, errors of one line, and nothing heavy imported for those."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from smem_jax import cli, report
from smem_jax.errors import InputError
from smem_jax.evaluate import ask as ask_module
from smem_jax.train import run

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def config_file(tmp_path: Path) -> str:
    path = tmp_path / "some.py"
    path.write_text("def get_config():\n    return {'seed': 7}\n")
    return str(path)


@pytest.fixture
def taught(monkeypatch: pytest.MonkeyPatch) -> list:
    """Stands in for the teaching and its report; lists what teaching was called with."""
    calls: list = []

    def teach(config, workdir, overwrite=False):
        calls.append((config, workdir, overwrite))
        return {"made": "up"}

    monkeypatch.setattr(run, "teach", teach)
    monkeypatch.setattr(report, "table", lambda summary: f"table of {summary}")
    monkeypatch.setattr(report, "examples", lambda workdir: ["an example"])
    monkeypatch.setattr(report, "write", lambda workdir: workdir / "report.html")
    return calls


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def teach(config, workdir, overwrite=False):
        raise error

    monkeypatch.setattr(run, "teach", teach)


def teach_arguments(config_file: str, *more: str) -> list[str]:
    return ["teach", "--config", config_file, "--workdir", "some/run", *more]


def test_teach_runs_and_says_how_to_go_on(taught, config_file, capsys):
    assert cli.main(teach_arguments(config_file, "train.steps=3")) == 0
    [(config, workdir, overwrite)] = taught
    assert (config.seed, config.train.steps) == (7, 3)
    assert (workdir, overwrite) == (Path("some/run"), False)
    lines = capsys.readouterr().out.splitlines()
    assert "table of {'made': 'up'}" in lines and "an example" in lines
    assert "Report: some/run/report.html" in lines
    assert lines[-1] == 'Ask it: smem ask --workdir some/run "..."'


def test_overrides_may_stand_anywhere(taught, config_file):
    arguments = ["teach", "seed=1", "--config", config_file, "train.steps=3", "--workdir", "w"]
    assert cli.main([*arguments, "memory.gate=True", "--overwrite"]) == 0
    [(config, _, overwrite)] = taught
    assert (config.seed, config.train.steps, config.memory.gate) == (1, 3, True)
    assert overwrite


def test_background_says_what_it_wrote(monkeypatch, config_file, capsys):
    monkeypatch.setattr(
        run,
        "background",
        lambda config, output: {"num_documents": 12, "share": 0.5, "perplexity": 1234.4},
    )
    assert cli.main(["background", "--config", config_file, "--output", "b.safetensors"]) == 0
    out = capsys.readouterr().out
    assert (
        out
        == "b.safetensors: 12 documents; 50.0% of the slots are used, with a perplexity of 1,234\n"
    )


@pytest.fixture
def asked(monkeypatch):
    """Answers questions in capitals, without a model; keeps what was restored."""
    restored = []
    monkeypatch.setattr(ask_module, "restore", lambda *given: restored.append(given))
    monkeypatch.setattr(
        ask_module, "ask", lambda taught, questions, most: [q.upper() for q in questions]
    )
    return restored


def test_ask_answers_a_line_for_each_question(asked, capsys):
    assert cli.main(["ask", "who?", "--workdir", "w", "where?", "--patch", "p"]) == 0
    assert capsys.readouterr().out == "WHO?\nWHERE?\n"
    assert asked == [(Path("w"), [Path("p")], "")]


def test_ask_reads_standard_input(asked, monkeypatch, capsys, tmp_path):
    lines = tmp_path / "lines"
    lines.write_text("who?\n\n where?\n")
    with lines.open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert cli.main(["ask", "--workdir", "w"]) == 0
    assert capsys.readouterr().out == "WHO?\nWHERE?\n"


def test_report_prints_its_path(taught, capsys):
    assert cli.main(["report", "--workdir", "w"]) == 0
    assert capsys.readouterr().out == "w/report.html\n"


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (
            InputError("facts.jsonl:3: the field\n'answer' is missing"),
            "facts.jsonl:3: the field 'ans",
        ),
        (PermissionError(13, "Permission denied", "some/run"), "Permission denied: 'some/run'"),
    ],
)
def test_bad_input_is_one_line_and_status_2(monkeypatch, config_file, capsys, error, shown):
    failing(monkeypatch, error)
    assert cli.main(teach_arguments(config_file)) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("smem: error: ") and shown in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("error", [InputError("wrong"), KeyboardInterrupt()])
def test_debug_shows_the_traceback(monkeypatch, config_file, error):
    failing(monkeypatch, error)
    with pytest.raises(type(error)):
        cli.main(teach_arguments(config_file, "--debug"))


def test_a_fault_of_the_program_is_no_bad_input(monkeypatch, config_file):
    failing(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli.main(teach_arguments(config_file))


def test_interrupt_says_that_the_run_can_go_on(monkeypatch, config_file, capsys):
    failing(monkeypatch, KeyboardInterrupt())
    assert cli.main(teach_arguments(config_file)) == 130
    assert "smem: interrupted; the same command goes on where it stopped" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["tech"], "invalid choice: 'tech'"),
        (["teach", "--workdir", "w"], "give --config FILE of a job, or --fact"),
        (["ask", "who?"], "give --workdir DIR of a run or --patch FILE, or both"),
        (["ask", "--workdir", "no", "who?"], "--workdir no holds no finished run"),
        (["ask", "--patch", "no.safetensors", "who?"], "no.safetensors: no such file"),
        (["ask", "--workdir", "w", "who?", "--top-p", "2"], "top_p=2.0 must be above 0"),
        (["patch"], "give a command: smem patch save|info"),
        (["patch", "info"], "the following arguments are required: FILE"),
        (["patch", "save", "--workdir", "no", "--output", "o"], "no finished run"),
        (
            ["report", "--workdir", "w", "--verbose"],
            "unknown argument '--verbose'; see `smem report",
        ),
        (
            ["report", "--workdir", "w", "lines.jsonl", "--output", "o.md"],
            "give --workdir DIR of a run, or",
        ),
        (["report", "--workdir", "w", "lines.jsonl"], "give --workdir DIR of a run, or"),
        (["report", "--workdir", "w", "--output", "o.md"], "give --workdir DIR of a run, or"),
        (["report", "r.jsonl", "--output", "o.md", "--compare", "a", "b"], "give --workdir DIR"),
        (["report", "--compare", "a", "b"], "give --workdir DIR of a run, or RESULTS..."),
        (
            ["teach", "--config", "c.py", "--workdir", "w", "--model", "m"],
            "--model m goes with --fact; beside --config, model=m is right",
        ),
        (["export", "--output", "o"], "give --patch FILE, or --workdir DIR of a finished run"),
        (["export", "--workdir", "no", "--output", "o"], "--workdir no holds no finished run"),
        (["ask", "--workdir", "w", "--loud", "who?"], "unknown argument '--loud'"),
        (["teach", "--config", "no.py", "--workdir", "w"], "no.py: no such configuration file"),
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert cli.main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("smem: error: ") and message in err
    assert err.count("\n") == 1


def test_an_unknown_field_is_refused_with_the_nearest(taught, config_file, capsys):
    assert cli.main(teach_arguments(config_file, "train.step=3")) == 2
    assert "unknown configuration field 'train.step'; the nearest is 'train.steps'" in (
        capsys.readouterr().err
    )
    assert taught == []


def test_help_and_mistakes_do_not_wait_for_jax(tmp_path):
    program = (
        "import json, sys\n"
        "from smem_jax import cli\n"
        "status = cli.main(json.loads(sys.argv[1]))\n"
        "assert 'jax' not in sys.modules and 'matplotlib' not in sys.modules\n"
        "sys.exit(status)\n"
    )
    config = tmp_path / "some.py"
    config.write_text("def get_config():\n    return {}\n")
    arguments = ["teach", "--config", str(config), "--workdir", str(tmp_path / "w"), "sed=1"]
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("smem: error: override 'sed=1'")
    assert not (tmp_path / "w").exists()
