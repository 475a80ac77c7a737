"""How long `smem ask` takes to its first token, and how fast the others follow.

    python -m benchmarks.ask --patch FILE [--question TEXT] [--rounds N] [--output FILE]

The command is started anew for each round, from the shell to the first character that it prints,
with its programs in the user's cache after a first start that is not counted. The rate is of one
process that goes on. Writes benchmarks/results/ask.json.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import timing
from smem_jax import patch as patches
from smem_jax.evaluate import ask
from smem_jax.evaluate.sampling import Sampling
from smem_jax.evaluate.streaming import Streamer

_TOKENS = 64


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patch", type=Path, required=True)
    parser.add_argument("--question", default="Where is the Milk Grotto?")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    starts = [_first_token(args.patch, args.question) for _ in range(args.rounds + 1)][1:]
    row = {
        "rows": len(patches.load(args.patch).slots),
        "first_token_seconds": statistics.median(starts),
        "first_token_seconds_all": starts,
        "tokens_per_second": _rate(args.patch, args.question, args.rounds),
    }
    columns = {"rows": ",", "first_token_seconds": ".2f", "tokens_per_second": ".1f"}
    timing.show([row], columns)
    timing.write("ask", [row], args.output)


def _first_token(patch: Path, question: str) -> float:
    started = time.perf_counter()
    command = [sys.executable, "-m", "smem_jax.cli", "ask", "--patch", str(patch), question]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        seconds = time.perf_counter() - started
        process.stdout.read()
    assert process.returncode == 0
    return seconds


def _rate(patch: Path, question: str, rounds: int) -> float:
    """Tokens a second after the first, the median of some answers without an end."""
    taught = ask.restore(files=[patch])
    streamer = Streamer(taught.model, taught.tokenizer)
    rates = []
    for _ in range(rounds + 1):
        arrived = []
        for _ in streamer.stream(question, (), Sampling(max_new_tokens=_TOKENS)):
            arrived.append(time.perf_counter())
        # Pieces are whole characters, of one token each in plain English.
        rates.append((len(arrived) - 1) / (arrived[-1] - arrived[0]))
    return statistics.median(rates[1:])


if __name__ == "__main__":
    main()
