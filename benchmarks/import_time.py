"""How much longer `import optax, smem_jax.optim` takes than `import optax` alone.

    python -m benchmarks.import_time [--repeats N]

Starts a fresh process for each import, the two kinds in turn so that a busy machine slows both
alike. Prints medians and their ratio, which should be at most 1.05, and writes
benchmarks/results/import_time.json. The ratio is that of processor time, which other work on the
machine disturbs less than it does the clock.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

_RESULT = Path(__file__).with_name("results") / "import_time.json"
_STATEMENTS = ("import optax", "import optax, smem_jax.optim")
# The start of Python itself is not counted.
_SCRIPT = """
from time import perf_counter, process_time
wall, processor = perf_counter(), process_time()
{}
print(process_time() - processor, perf_counter() - wall)
"""
_TARGET = 1.05


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=25, help="processes of each kind")
    repeats = parser.parse_args().repeats
    for statement in _STATEMENTS:  # compiles what is not compiled yet
        _seconds(statement)
    seconds: dict[str, list[list[float]]] = {statement: [] for statement in _STATEMENTS}
    for repeat in range(repeats):
        # Either kind goes first as often as the other.
        for statement in _STATEMENTS[:: 1 if repeat % 2 else -1]:
            seconds[statement].append(_seconds(statement))
    medians = {
        statement: [statistics.median(times) for times in zip(*runs, strict=True)]
        for statement, runs in seconds.items()
    }
    (alone, _), (both, _) = medians.values()
    result = {
        "median_processor_seconds": {name: median[0] for name, median in medians.items()},
        "median_wall_seconds": {name: median[1] for name, median in medians.items()},
        "ratio": both / alone,
        "target": _TARGET,
        "repeats": repeats,
        "python": platform.python_version(),
        "jax": version("jax"),
        "optax": version("optax"),
    }
    _RESULT.parent.mkdir(exist_ok=True)
    _RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print("| statement | processor time | by the clock |")
    print("| --- | --- | --- |")
    for statement, (processor, wall) in medians.items():
        print(f"| `{statement}` | {processor:.3f} s | {wall:.3f} s |")
    print(f"ratio of processor times {both / alone:.3f}; at most {_TARGET} is right")


def _seconds(statement: str) -> list[float]:
    """Of processor time, and by the clock."""
    command = [sys.executable, "-c", _SCRIPT.format(statement)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(number) for number in result.stdout.split()]


if __name__ == "__main__":
    main()
