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

from smem_jax import cli_ask, cli_experiments, cli_jobs, cli_patches
from smem_jax.errors import InputError, print_error

_BAD_INPUT, _INTERRUPTED = 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status.

    0 when done, 2 for bad input, 3 where `smem compile` finds that a configuration does not fit,
    130 when interrupted; 143 when `smem train` was asked to end and saved, 1 when it failed for
    what may not be there at another try, and where runs of a `smem sweep` failed.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    debug = "--debug" in arguments
    # Progress of checkpoints and devices is not what a user of this command asked about.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        args = parse(arguments)
        return args.run(args) or 0
    except (InputError, OSError) as error:
        if debug:
            raise
        print_error(error)
        return _BAD_INPUT
    except KeyboardInterrupt:
        if debug:
            raise
        goes_on = arguments[:1] in (["teach"], ["stream"], ["sweep"]) and "--fact" not in arguments
        again = "; the same command goes on where it stopped" if goes_on else ""
        print(f"\nsmem: interrupted{again}", file=sys.stderr)
        return _INTERRUPTED


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command; its `run` does the work. InputError where they make no sense.

    Overrides and questions may stand before, between and after the options.
    """
    args, rest = _parser().parse_known_args(arguments)
    if hasattr(args, "passed_on"):  # to another program
        args.passed_on.extend(rest)
        return args
    words = getattr(args, "words", None)
    if rest and (words is None or any(word.startswith("-") for word in rest)):
        unknown = next((word for word in rest if word.startswith("-")), rest[0])
        raise InputError(f"unknown argument {unknown!r}; see `smem {args.command} --help`")
    if words is not None:
        words.extend(rest)
    return args


class _Parser(argparse.ArgumentParser):
    """Reports what is wrong with the arguments as any other bad input, without the usage.

    Options have to be given whole, so that a script that looks for one finds it.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see `{self.prog} --help`")


def _parser() -> argparse.ArgumentParser:
    top = _Parser(
        prog="smem", description="Teach a language model new facts without making it forget."
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(
        name: str, run: Callable[[Any], int | None], description: str, **options: Any
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=description, description=description, **options)
        command.set_defaults(run=run)
        command.add_argument("--debug", action="store_true", help="show tracebacks of errors")
        return command

    def add_config(command: argparse.ArgumentParser, required: bool = True) -> None:
        command.add_argument(
            "--config",
            required=required,
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
    teach.add_argument(
        "--fact",
        nargs=2,
        action="append",
        metavar=("QUESTION", "ANSWER"),
        help="in place of --config: add this to what the directory knows; may be given again",
    )
    teach.add_argument(
        "--model", default="", metavar="MODEL", help="to teach --fact; SmolLM2 if not given"
    )
    add_config(teach, required=False)

    cli_jobs.add_commands(add, add_config, add_workdir)

    background = add("background", _background, "Write how often background text reads each slot.")
    background.add_argument(
        "--output", required=True, type=Path, metavar="FILE", help="a .safetensors file to write"
    )
    add_config(background)

    cli_ask.add_commands(add)
    cli_patches.add_commands(add)

    cli_experiments.add_commands(add, add_config, add_workdir)

    report = add("report", _report, "Write the report of a run, or the page of a sweep's results.")
    report.add_argument("--workdir", type=Path, metavar="DIR", help="of a finished `smem teach`")
    report.add_argument("words", nargs="*", metavar="RESULTS", help="JSON lines of `smem sweep`")
    report.add_argument(
        "--output", type=Path, metavar="FILE", help="page for RESULTS, such as docs/RESULTS.md"
    )
    report.add_argument(
        "--compare",
        nargs=2,
        metavar="RUN",
        help="show what differs between two runs of RESULTS, with intervals; seed* for all seeds",
    )

    data = add("data", _data, "Prepare a data set for training, or list those there are.")
    data.add_argument("words", nargs="*", metavar="NAME", help="one of those that --list shows")
    data.add_argument("--list", action="store_true", help="show what can be prepared")
    data.add_argument(
        "--source",
        default="",
        help="the published file or the directory with it; text:FILE, blocks:FILE, qa:FILE or "
        "jsonl:FILE:FIELD for a file of your own",
    )
    data.add_argument("--data-dir", type=Path, metavar="DIR", help="where data sets go")
    data.add_argument("--overwrite", action="store_true", help="replace a data set of that name")
    return top


def _config(args: argparse.Namespace) -> Any:
    from smem_jax import config
    from smem_jax.settings import defaults

    return config.load(args.config, args.words, defaults())


def _teach(args: argparse.Namespace) -> None:
    if args.fact:
        cli_ask.teach_facts(args)
        print(f'Ask it: {_command()} ask --workdir {shlex.quote(str(args.workdir))} "..."')
        return
    if args.config is None:
        raise InputError("give --config FILE of a job, or --fact QUESTION ANSWER")
    if args.model:
        raise InputError(
            f"--model {args.model} goes with --fact; beside --config, model={args.model} is right"
        )
    config = _config(args)  # a mistake in it is said before anything heavy is imported
    from smem_jax import report, user_cache
    from smem_jax.train import run

    user_cache.keep_programs()
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


def _command() -> str:
    """This program as it was called, so that a hint can be pasted into the same shell."""
    called = Path(sys.argv[0])
    return "smem" if called.is_absolute() or called.name != "smem" else shlex.quote(str(called))


def _report(args: argparse.Namespace) -> None:
    paths = [Path(word) for word in args.words]
    asked = [bool(args.workdir), bool(args.output), bool(args.compare)]
    if sum(asked) != 1 or bool(paths) == bool(args.workdir):
        raise InputError(
            "give --workdir DIR of a run, or RESULTS... with --output FILE or --compare RUN RUN"
        )
    if args.workdir:
        from smem_jax import report

        print(report.write(args.workdir))
        return
    from smem_jax.report import results

    if args.compare:
        print(results.compare(paths, *args.compare))
        return
    pages = results.by_experiment(paths)
    written = results.write(pages, args.output, args.output.parent / args.output.stem.lower())
    print(f"{args.output}: {', '.join(written)}")


def _data(args: argparse.Namespace) -> None:
    from smem_jax.data.tfds import prepare

    if args.list:
        print("\n".join(prepare.available()))
        return
    if len(args.words) != 1 or args.data_dir is None:
        raise InputError("give one name and a directory: smem data NAME --data-dir DIR, or --list")
    found = prepare.prepare(args.words[0], args.source, args.data_dir, args.overwrite)
    for source, num_documents in found.items():
        print(f"data.source={source}  {num_documents:,} documents")


if __name__ == "__main__":
    sys.exit(main())
