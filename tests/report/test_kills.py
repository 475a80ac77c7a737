"""SIGKILL while reports are written over older ones."""

import json
import random
import signal
from pathlib import Path

import forks
import killed_work
import pytest
import sweep_lines


@pytest.fixture
def inputs(workdir, tmp_path) -> list[Path]:
    """Twice the files of a run, and lines of a sweep, with little to draw."""
    found = []
    for recall in (0.25, 0.75):
        folder = tmp_path / f"inputs_{recall}"
        folder.mkdir()
        for name in killed_work.RUN:
            (folder / name).write_text((workdir / name).read_text())
        (folder / "metrics.jsonl").write_text('{"step": 0, "loss": 1.0}\n')
        summary = json.loads((workdir / "summary.json").read_text())
        summary["taught_exact_match"]["after"] = recall
        for figure in ("taught_answer_nll", "wikitext_nll", "nq_answer_nll"):
            del summary[figure]
        (folder / "summary.json").write_text(json.dumps(summary))
        line = sweep_lines.line("sparse", recall, 0.1, with_items=False)
        line |= {"figures": {"known": line["figures"]["known"]}, "curve": [], "matrix": None}
        sweep_lines.write(folder / "facts.jsonl", [line])
        found.append(folder)
    return found


def _files(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["write_report", "write_results"])
def test_killed_25_times_each_file_is_the_old_one_or_the_new(name, inputs, tmp_path):
    write = getattr(killed_work, name)
    written = []
    for given in inputs:
        write(given, tmp_path / "alone")
        written.append(_files(tmp_path / "alone"))
    folder = tmp_path / "killed"
    chance = random.Random(0)
    kills = number = cut_off = 0
    with forks.Forks(f"killed_work.{name}") as work:
        status, whole = work.run(inputs[0], folder)
        assert status == 0 and _files(folder) == written[0]
        while kills < 25:
            number += 1
            before = {p: c for p, c in _files(folder).items() if not p.endswith(".partial")}
            longest = whole * chance.random()
            status, seconds = work.run(inputs[number % 2], folder, longest=longest)
            if status == -signal.SIGKILL:
                kills += 1
            else:
                assert status == 0
                whole = seconds  # what takes long depends on what else the machine does
            found = _files(folder)
            partial = [path for path in found if path.endswith(".partial")]
            cut_off += bool(partial)
            for path in partial:
                del found[path]
            assert found.keys() == before.keys()
            for path, content in found.items():
                assert content in (before[path], written[number % 2][path]), path
        status, _ = work.run(inputs[0], folder)
        assert status == 0 and _files(folder) == written[0]  # and takes away what was left
    print(f"{cut_off} of 25 kills left part of a file under another name")
