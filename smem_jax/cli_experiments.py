"""The commands of `smem` that compare ways to learn: stream, sweep, explain, lm-eval."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_FAILED = 1


def add_commands(
    add: Callable[..., argparse.ArgumentParser],
    add_config: Callable[[argparse.ArgumentParser], None],
    add_workdir: Callable[[argparse.ArgumentParser, str], None],
) -> None:
    """Adds the commands by means of `smem_jax.cli`."""
    stream = add("stream", _stream, "Teach lessons one after another; what is kept, what is lost?")
    add_workdir(stream, "where all results go; an unfinished run in it is resumed")
    stream.add_argument("--overwrite", action="store_true", help="drop what the directory holds")
    add_config(stream)

    sweep = add("sweep", _sweep, "Make all runs that a configuration lists, one line for each.")
    sweep.add_argument(
        "--results", required=True, type=Path, metavar="FILE", help="JSON lines to add to"
    )
    sweep.add_argument(
        "--workdirs", type=Path, default=Path("runs/sweep"), metavar="DIR", help="of the runs"
    )
    sweep.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="a run, or a pattern such as 'sparse_*'; may be given again",
    )
    sweep.add_argument("--overwrite", action="store_true", help="anew where a run has changed")
    sweep.add_argument(
        "--keep-checkpoints",
        action="store_true",
        help="of finished runs, and their patches; both take room",
    )
    add_config(sweep)

    explain = add("explain", _explain, "Show what reads the slots that facts are written to.")
    explain.add_argument(
        "--output", required=True, type=Path, metavar="DIR", help="for explain.md and figures"
    )
    explain.add_argument("--facts", type=int, default=100, metavar="N", help="the first N facts")
    add_config(explain)

    lm_eval = add(
        "lm-eval",
        _lm_eval,
        "Run EleutherAI's lm-evaluation-harness, which then knows the model 'smem'.",
        add_help=False,  # it has its own
    )
    lm_eval.set_defaults(passed_on=[])


def _stream(args: argparse.Namespace) -> None:
    from smem_jax import config
    from smem_jax.stream_settings import stream_defaults

    settings = config.load(args.config, args.words, stream_defaults())
    from smem_jax import user_cache
    from smem_jax.train import stream

    user_cache.keep_programs()
    _print(stream.run(settings, args.workdir, args.overwrite))
    print(f"\n{args.workdir / 'summary.json'} has all figures")


def _sweep(args: argparse.Namespace) -> int:
    from smem_jax import user_cache
    from smem_jax.stream_settings import stream_defaults
    from smem_jax.train import stream
    from smem_jax.train.sweep import sweep

    user_cache.keep_programs()
    outcome = sweep(
        args.config,
        args.results,
        args.workdirs,
        stream.run,
        stream_defaults(),
        overrides=args.words,
        only=args.only,
        overwrite=args.overwrite,
        keep_checkpoints=args.keep_checkpoints,
    )
    counts = {"done": outcome.done, "failed": outcome.failed, "in other hands": outcome.elsewhere}
    print(", ".join(f"{len(names)} {what}" for what, names in counts.items() if names))
    if outcome.failed:
        print(f"smem: failed: {', '.join(outcome.failed)}", file=sys.stderr)
        return _FAILED
    return 0


def _explain(args: argparse.Namespace) -> None:
    from smem_jax import config
    from smem_jax.settings import defaults

    settings = config.load(args.config, args.words, defaults())
    from smem_jax import user_cache
    from smem_jax.explain.explain import explain

    user_cache.keep_programs()
    explain(settings, args.output, args.facts)
    print(args.output / "explain.md")


def _lm_eval(args: argparse.Namespace) -> None:
    from smem_jax import user_cache
    from smem_jax.data.requirements import require

    command = require("lm_eval.__main__", "eval")
    from smem_jax.evaluate import lm_eval_adapter  # noqa: F401  # registers the model

    user_cache.keep_programs()
    sys.argv = ["lm-eval", *args.passed_on]  # where it looks for its arguments
    command.cli_evaluate()


def _print(summary: dict[str, Any]) -> None:
    """The figures of a run, a line each."""
    recall = summary["recall"]
    print(f"\n{summary['num_lessons']} lessons; left out: {summary['left_out']}")
    for name, what in (
        ("reworded", "recall, reworded questions"),
        ("trained", "recall, trained questions"),
        ("first_100_kept", "of the first 100, kept"),
    ):
        if recall[name] is not None:
            print(f"{what:28} {recall[name]:8.3f}")
    for name, figure in summary["figures"].items():
        print(f"{name:28} {figure['before']:8.3f} -> {figure['after']:.3f}")
