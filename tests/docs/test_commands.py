"""Every command of the documentation: it fits the program as it is, and it runs.

The pages are run as they stand, each in a folder of its own, by a shell and by Python. `my_model`
is there a tiny model of random weights, so what is shown is that the commands work, and not what
they teach. What is not run, or run elsewhere, or made smaller, is listed in `doc_commands`.
"""

import itertools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import doc_commands
import pytest
import tiny_llama
from doc_commands import ELSEWHERE, NOT_RUN, PAGES, ROOT, SMALLER, Command, commands
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from smem_jax import cli, config
from smem_jax.job_settings import job_defaults
from smem_jax.settings import defaults
from smem_jax.stream_settings import stream_defaults

RULES = (NOT_RUN, ELSEWHERE, SMALLER)
ALL = [command for page in PAGES for command in commands(page)]
# What a page needs of another: the command there that makes it.
_STREAM = "smem stream --config configs/stream_facts.py --workdir runs/stream_facts"
_TEACH = 'smem teach --workdir my_memory --fact "Who runs the archive at Vardø?" "Liv Hansen"'
NEEDED = {"docs/patches.md": _STREAM, "docs/exchange.md": _TEACH}
_FOLDERS = ("benchmarks", "configs", "docs", "examples", "launch", "smem_jax", "tests")
_DEFAULTS = {"stream": stream_defaults, "sweep": stream_defaults} | dict.fromkeys(
    ("train", "pretrain", "compile"), job_defaults
)


def check(command: Command) -> None:
    """Raises what is wrong with a command; runs nothing."""
    if command.is_python:
        compile(command.text, f"{command.page}:{command.line}", "exec")
        return
    for words in doc_commands.simple_commands(command):
        for word in words:
            check_path(word)
        match words:
            case ["smem", *arguments]:
                check_smem(arguments)
            case ["make", *targets]:
                check_targets(targets)
            case ["python", script, *arguments]:
                check_flags(script_of(script, arguments), arguments)


def what_is_wrong(command: Command) -> Exception | None:
    """What `check` raises."""
    try:
        check(command)
    except (ValueError, AssertionError, SyntaxError) as error:
        return error
    return None


def check_path(word: str) -> None:
    """A path that begins with a folder of the repository leads to something."""
    if word.split("/")[0] not in _FOLDERS or "/" not in word:
        return
    braces = re.fullmatch(r"(.*)\{(.*)\}(.*)", word)
    names = [braces[1] + part + braces[3] for part in braces[2].split(",")] if braces else [word]
    for name in names:
        assert list(ROOT.glob(name)), f"{name} is not in the repository"


def check_smem(arguments: list[str]) -> None:
    """The program takes the arguments, and the configuration has the fields."""
    args = cli.parse(arguments)
    if getattr(args, "config", None) is not None:
        config.load(ROOT / args.config, args.words, _DEFAULTS.get(args.command, defaults)())


def check_targets(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in (word for word in words if "=" not in word):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"no target {target}"


def script_of(script: str, arguments: list[str]) -> Path:
    if script == "-m":
        script = arguments.pop(0).replace(".", "/") + ".py"
    assert (ROOT / script).is_file(), f"{script} is not in the repository"
    return ROOT / script


def check_flags(script: Path, arguments: list[str]) -> None:
    source = script.read_text(encoding="utf-8")
    for word in arguments:
        assert not word.startswith("-") or f'"{word}"' in source, f"{script.name} has no {word}"


def named(command: Command) -> str:
    return f"{command.page}:{command.line}"


@pytest.mark.parametrize("command", ALL, ids=named)
def test_a_command_fits_the_program(command):
    assert what_is_wrong(command) is None


@pytest.mark.parametrize(
    "line",
    [
        "smem teach --workdir w --colour --fact a b",
        "smem taech --workdir w",
        "smem teach --config configs/quickstart.py --workdir w train.step=3",
        "smem teach --config configs/gone.py --workdir w",
        "cat a | smem ask --patches p.safetensors q",
        "make quickstrat",
        "make test && smem patch mrege a b --output c",
        "python examples/gone.py",
        "python -m benchmarks.step --sises '2**14'",
        "bash benchmarks/{gpu,gone}.sh",
    ],
)
def test_a_stale_command_is_noticed(line):
    page = f"Some text.\n\n```sh\nmake lint  # a comment\n{line}\n```\n"
    good, bad = commands("page.md", page)
    assert (good.line, good.text, bad.line, bad.text) == (4, "make lint", 5, line)
    assert what_is_wrong(good) is None
    assert isinstance(what_is_wrong(bad), (ValueError, AssertionError))


def test_a_stale_program_is_noticed():
    [program] = commands("page.md", "```python\nimport os\n```\n\n```python\nos.(\n```\n")
    assert isinstance(what_is_wrong(program), SyntaxError)


@pytest.mark.parametrize("command", ALL, ids=named)
def test_one_rule_at_most_says_who_runs_a_command(command):
    assert len([said for rules in RULES for said in command.matches(rules)]) <= 1


@pytest.mark.parametrize("pattern", [pattern for rules in RULES for pattern in rules])
def test_a_rule_has_a_command(pattern):
    assert any(command.matches({pattern: ""}) for command in ALL)


@pytest.mark.parametrize("file", sorted(set(ELSEWHERE.values())))
def test_another_file_has_the_commands_that_it_is_said_to_run(file):
    text = (ROOT / file).read_text(encoding="utf-8")
    for command in doc_commands.run_by(file):
        for words in doc_commands.simple_commands(command):
            match words:
                case ["make", *targets]:
                    for target in targets:
                        assert re.search(rf"^make {target}$", text, re.MULTILINE), target
                case ["python", "-m", module, *_]:
                    name = module.removeprefix("benchmarks.")
                    assert re.search(rf'"(benchmarks\.)?{name}"', text), module
                case ["pip", "install", "."]:
                    assert '"pip", "install"' in text


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_of_a_kind_that_is_known(page):
    """A block of another name, such as 'shell', would be passed over by the tests above."""
    text = (ROOT / page).read_text(encoding="utf-8")
    fences = re.findall(r"^ *```(.*)$", text, re.MULTILINE)
    assert fences[1::2] == [""] * (len(fences) // 2)
    assert set(fences[::2]) <= {"sh", "python", "json", "yaml"}


@pytest.mark.parametrize("page", PAGES)
def test_inline_commands_have_known_flags_and_targets(page, capsys):
    text = (ROOT / page).read_text(encoding="utf-8")
    for code in re.findall(r"`((?:smem|make) [^`]+)`", text):
        program, *words = code.split()
        if program == "make":
            check_targets(words[:1])
            continue
        if words[0] == "lm-eval":  # whose flags are those of another program
            continue
        names = list(itertools.takewhile(str.islower, words[: 2 if words[0] == "patch" else 1]))
        with pytest.raises(SystemExit):
            cli.parse([*names, "--help"])
        known = capsys.readouterr().out
        for flag in re.findall(r"--[a-z-]+", code):
            assert flag in known, f"{page}: {code}"


@pytest.fixture(scope="module")
def my_model(tmp_path_factory) -> Path:
    """A tiny model of random weights; its tokens are words or parts of words, fewer than bytes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        special_tokens=["<bos>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train([str(ROOT / "configs/quickstart_data/background_text.txt")], trainer)
    sizes = {"num_hidden_layers": 6, "hidden_size": 64, "vocab_size": tokenizer.get_vocab_size()}
    path = tmp_path_factory.mktemp("model")
    tiny_llama.write(path, "grouped_untied", **sizes, bos_token_id=0, eos_token_id=1)
    tokenizer.save(str(path / "tokenizer.json"))
    return path


@pytest.fixture
def folder(my_model, tmp_path: Path) -> Path:
    """Where a page is run: a checkout with a model of the reader's, and programs on the PATH."""
    for name in ("benchmarks", "configs", "docs", "examples", "launch"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copytree(my_model, tmp_path / "my_model")
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, module in (("python", ""), ("smem", "-m smem_jax.cli ")):
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {module}"$@"\n')
        (programs / name).chmod(0o755)
    return tmp_path


def script(page: str) -> str:
    """What is run of a page, as a shell script that says each command before it runs it."""
    lines = []
    for command in [c for p in PAGES for c in commands(p) if c.text == NEEDED.get(page)][:1]:
        lines.append(f"{command.text} {' '.join(command.matches(SMALLER))}")
    for command in commands(page):
        if command.matches(NOT_RUN) or command.matches(ELSEWHERE):
            continue
        lines.append(f'echo "--- {named(command)} after $SECONDS s"')
        if command.is_python:
            lines.append(f"python <<'END OF PROGRAM'\n{command.text}END OF PROGRAM")
        else:
            lines.append(" ".join([command.text, *command.matches(SMALLER)]))
    return "\n".join(lines)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if script(page)])
def test_a_page_runs(page, folder):
    environment = os.environ | {
        "PATH": f"{folder}/.venv/bin:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script(page)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-2000:]
