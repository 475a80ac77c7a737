"""Looks for files that break a reader, guided by which of its lines they reach (atheris).

    pip install -e '.[fuzz]'
    python tests/fuzz/coverage_guided.py [--runs 100000] [TARGET ...]

Each target runs in a process of its own. Prints and writes, target after target, how many files
were tried, how long that took, and what went wrong, each kind once with the file that showed it;
exits with 1 where anything did. What counts as wrong says tests/fixtures/fuzzing.py.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
_FIXTURES = _ROOT / "tests" / "fixtures"
_RESULTS = _ROOT / "benchmarks" / "results" / "fuzz.json"
_LONGEST = 32768  # bytes of a file
_HANGS = 60  # seconds after which a reader that does not come back is stopped
# A file is written for each try: a disk would take most of the time.
_MEMORY = "/dev/shm"  # noqa: S108  # in which the directory that is made is private
_IN_MEMORY = _MEMORY if os.access(_MEMORY, os.W_OK) else None


def main() -> int:
    """Runs the targets that were asked for, or all."""
    sys.path.insert(0, str(_FIXTURES))
    import fuzz_targets

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(fuzz_targets.NAMES))
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--output", type=Path, default=_RESULTS)
    args = parser.parse_args()
    results = json.loads(args.output.read_text()) if args.output.is_file() else {}
    for name in args.targets or fuzz_targets.NAMES:
        results[name] = _in_own_process(name, args.runs)
        found = results[name]["problems"]
        print(f"{name}: {results[name]['runs']:,} files in {results[name]['seconds']:.0f} s")
        print("".join(f"  {problem}: {content}\n" for problem, content in found.items()), end="")
        args.output.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    return int(any(results[name]["problems"] for name in args.targets or fuzz_targets.NAMES))


def _in_own_process(name: str, runs: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=_IN_MEMORY) as folder:
        report = Path(folder) / "report.json"
        started = time.monotonic()
        child = subprocess.run(
            [sys.executable, __file__, "--child", name, str(runs), folder, str(report)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - started
        found = json.loads(report.read_text()) if report.is_file() else {"runs": 0, "problems": {}}
        if child.returncode or not found["runs"]:
            last = " ".join(child.stderr.split()[-40:])
            found["problems"][f"ended with status {child.returncode}"] = last
        return {**found, "seconds": round(seconds, 1)}


def _child(name: str, runs: int, folder: Path, report: Path) -> None:
    """Fuzzes one target and writes what it found into `report`; does not return."""
    import atheris

    sys.path.insert(0, str(_FIXTURES))
    with atheris.instrument_imports(include=["smem_jax", "gguf", "json"]):
        import fuzz_targets
        import fuzzing
    files = folder / "files"
    files.mkdir()
    target = fuzz_targets.target(name, files)
    runs = target.num_files(runs)
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(target.seeds):
        (corpus / str(number)).write_bytes(seed)
    tried = 0
    problems: dict[str, str] = {}

    def one(content: bytes) -> None:
        nonlocal tried
        tried += 1
        found = fuzzing.problem(target, content)
        if found is not None:
            problems.setdefault(found.split(": ")[0], f"{found} {content!r}")
        if tried >= runs or found is not None:
            report.write_text(json.dumps({"runs": tried, "problems": problems}))

    flags = [f"-runs={runs}", f"-max_len={_LONGEST}", f"-timeout={_HANGS}", "-rss_limit_mb=0"]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        _child(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]), Path(sys.argv[5]))
    else:
        sys.exit(main())
