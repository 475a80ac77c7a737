"""The command `smem`: arguments in, jobs run, results printed.

JAX is imported only when a job starts, so that `smem --help` and wrong arguments answer at once.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from smem_jax.errors import InputError

_BAD_INPUT = 2
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status: 0, 2 for bad input, 130 when interrupted."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    debug = "--debug" in arguments
    # Progress of checkpoints and devices is not what a user of this command asked about.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        args = parse(arguments)
        args.run(args)
    except (InputError, OSError) as error:
        if debug:
            raise
        print(f"smem: error: {' '.join(str(error).split())}", file=sys.stderr)
        return _BAD_INPUT
    except KeyboardInterrupt:
        if debug:
            raise
        again = "; the same command goes on where it stopped" if "teach" in arguments[:1] else ""
        print(f"\nsmem: interrupted{again}", file=sys.stderr)
        return _INTERRUPTED
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command; its `run` does the work. InputError where they make no sense.

    Overrides and questions may stand before, between and after the options.
    """
    args, rest = _parser().parse_known_args(arguments)
    words = getattr(args, "words", None)
    if rest and (words is None or any(word.startswith("-") for word in rest)):
        unknown = next((word for word in rest if word.startswith("-")), rest[0])
        raise InputError(f"unknown argument {unknown!r}; see `smem {args.command} --help`")
    if words is not None:
        words.extend(rest)
    return args


class _Parser(argparse.ArgumentParser):
    """Reports what is wrong with the arguments as any other bad input, without the usage."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see `{self.prog} --help`")


def _parser() -> argparse.ArgumentParser:
    top = _Parser(
        prog="smem", description="Teach a language model new facts without making it forget."
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name: str, run: Callable[[Any], None], description: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=description, description=description)
        command.set_defaults(run=run)
        command.add_argument("--debug", action="store_true", help="show tracebacks of errors")
        return command

    def add_config(command: argparse.ArgumentParser) -> None:
        command.add_argument(
            "--config",
            required=True,
            type=Path,
            metavar="FILE",
            help="such as configs/quickstart.py",
        )
        command.add_argument(
            "words",
            nargs="*",
            metavar="section.field=value",
            help="fields other than in the file, such as train.steps=20",
        )

    def add_workdir(command: argparse.ArgumentParser, description: str) -> None:
        command.add_argument("--workdir", required=True, type=Path, metavar="DIR", help=description)

    teach = add("teach", _teach, "Teach facts to a model, and measure what it learned and lost.")
    add_workdir(teach, "where all results go; an unfinished run in it is resumed")
    teach.add_argument("--overwrite", action="store_true", help="drop what the directory holds")
    add_config(teach)

    background = add("background", _background, "Write how often background text reads each slot.")
    background.add_argument(
        "--output", required=True, type=Path, metavar="FILE", help="a .npz file to write"
    )
    add_config(background)

    ask = add("ask", _ask, "Ask a taught model; one line of answer for each question.")
    add_workdir(ask, "of a finished `smem teach`")
    ask.add_argument("words", nargs="*", metavar="QUESTION", help="or one a line on standard input")

    report = add("report", _report, "Write the HTML report of a finished run anew.")
    add_workdir(report, "of a finished `smem teach`")
    return top


def _config(args: argparse.Namespace) -> Any:
    from smem_jax import config
    from smem_jax.settings import defaults

    return config.load(args.config, args.words, defaults())


def _teach(args: argparse.Namespace) -> None:
    config = _config(args)  # a mistake in it is said before anything heavy is imported
    from smem_jax import report
    from smem_jax.train import run

    summary = run.teach(config, args.workdir, args.overwrite)
    print(f"\n{report.table(summary)}\n")
    for line in report.examples(args.workdir):
        print(line)
    print(f"\nReport: {report.write(args.workdir)}")
    print(f'Ask it: {_command()} ask --workdir {shlex.quote(str(args.workdir))} "..."')


def _background(args: argparse.Namespace) -> None:
    config = _config(args)
    from smem_jax.train import run

    found = run.background(config, args.output)
    print(
        f"{args.output}: {found['num_documents']} documents; {found['share']:.1%} of the slots are "
        f"used, with a perplexity of {found['perplexity']:,.0f}"
    )


def _ask(args: argparse.Namespace) -> None:
    from smem_jax.evaluate.ask import ask

    questions = args.words
    if not questions and not sys.stdin.isatty():
        questions = [line.strip() for line in sys.stdin if line.strip()]
    if not questions:
        raise InputError("no question given; smem ask --workdir DIR QUESTION")
    for answer in ask(args.workdir, questions):
        print(answer)


def _command() -> str:
    """This program as it was called, so that a hint can be pasted into the same shell."""
    called = Path(sys.argv[0])
    return "smem" if called.is_absolute() or called.name != "smem" else shlex.quote(str(called))


def _report(args: argparse.Namespace) -> None:
    from smem_jax import report

    print(report.write(args.workdir))


if __name__ == "__main__":
    sys.exit(main())
