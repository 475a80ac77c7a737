"""The commands of `smem` for what was taught, as files: patch with its own commands, export."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from smem_jax.errors import InputError, plain


def add_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the commands by means of `smem_jax.cli`."""
    export = add(
        "export", _export, "Write a model and what it was taught to a Hugging Face directory."
    )
    export.add_argument("--workdir", type=Path, metavar="DIR", help="of a run, or with patches")
    export.add_argument(
        "--patch", action="append", default=[], type=Path, metavar="FILE", help="may be given again"
    )
    export.add_argument("--model", default="", metavar="MODEL", help="the base, if elsewhere")
    export.add_argument("--output", type=Path, required=True, metavar="DIR", help="a new one")

    patch = add("patch", _no_command, "What was learned, as a file: save, apply, revert, merge.")
    commands = patch.add_subparsers(dest="patch_command", metavar="COMMAND")

    def add_patch(name: str, run: Callable[[Any], None], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        command.add_argument("--debug", action="store_true", help="show tracebacks of errors")
        return command

    def add_file(command: argparse.ArgumentParser) -> None:
        command.add_argument("file", type=Path, metavar="FILE", help="a patch")

    def add_workdir(command: argparse.ArgumentParser) -> None:
        command.add_argument(
            "--workdir", type=Path, required=True, metavar="DIR", help="of a run, or a new one"
        )

    def add_output(command: argparse.ArgumentParser, storage: str) -> None:
        command.add_argument("--output", type=Path, required=True, metavar="FILE")
        command.add_argument("--name", default="", help="of the patch; that of the file")
        command.add_argument(
            "--storage",
            default=storage,
            help="low_rank (4 bits of 16 directions a lesson), int8, bfloat16 or float32; "
            f"{storage} if not given",
        )

    save = add_patch("save", _save, "Write what a run learned to a small file.")
    save.add_argument("--workdir", type=Path, required=True, metavar="DIR", help="of a run")
    add_output(save, "low_rank")
    save.add_argument("--rank", type=int, default=16, metavar="N", help="of low_rank; 16")
    save.add_argument(
        "--taught", default="texts", help="what to tell of it: texts (the default), hashes or none"
    )
    save.add_argument(
        "--without-layout", action="store_true", help="leave out queries and sub-keys"
    )
    info = add_patch("info", _info, "Say what is in a patch.")
    add_file(info)
    info.add_argument("--json", action="store_true", help="all of it, as JSON")
    verify = add_patch("verify", _verify, "Check a patch, and what it remembers of facts.")
    add_file(verify)
    verify.add_argument("--model", default="", metavar="MODEL", help="the base model, if elsewhere")
    verify.add_argument("--facts", type=Path, metavar="FILE", help="JSON lines, to ask about")
    apply = add_patch("apply", _apply, "Add a patch to a directory, for `smem ask --workdir`.")
    add_file(apply)
    add_workdir(apply)
    revert = add_patch("revert", _revert, "Take an applied patch away again.")
    revert.add_argument("name", metavar="NAME", help="of the patch")
    add_workdir(revert)
    diff = add_patch("diff", _diff, "Compare two patches.")
    add_file(diff)
    diff.add_argument("other", type=Path, metavar="OTHER", help="another patch")
    merge = add_patch("merge", _merge, "Make one patch of several.")
    merge.add_argument("files", type=Path, nargs="+", metavar="FILE", help="patches")
    add_output(merge, "int8")
    merge.add_argument(
        "--rule",
        default="first",
        help="for slots that several claim: first (the default), last, sum or move",
    )


def _no_command(args: argparse.Namespace) -> None:
    raise InputError("give a command: smem patch save|info|verify|apply|revert|diff|merge")


def _export(args: argparse.Namespace) -> None:
    from smem_jax import patch as patches
    from smem_jax.evaluate import export
    from smem_jax.patch import directory

    given, model, adapter = [], args.model, None
    if args.workdir is not None:
        given, model = directory.of(args.workdir), model or directory.base(args.workdir)
        adapter = export.adapter_of(args.workdir)
    given += map(patches.load, args.patch)
    if not given and adapter is None:
        raise InputError(
            "give --patch FILE, or --workdir DIR of a finished run"
            if args.workdir is None
            else f"--workdir {args.workdir} holds no finished run, nor a patch"
        )
    export.write(given, model, args.output, adapter)
    print(f"{args.output}: smem ask --workdir {args.output}" if given else args.output)


def _save(args: argparse.Namespace) -> None:
    from smem_jax import patch as patches
    from smem_jax.patch import directory

    there = directory.of(args.workdir)
    if not there:
        raise InputError(f"--workdir {args.workdir} holds no finished run, nor a patch")
    if len(there) > 1:
        raise InputError(
            f"--workdir {args.workdir} holds {len(there)} patches; `smem patch merge` makes one"
        )
    patch = patches.restored(
        there[0],
        storage=args.storage,
        rank=args.rank,
        name=args.name or patches.name_for(args.output),
        taught=args.taught,
        layout=not args.without_layout,
    )
    _write(patch, args.output)


def _write(patch: Any, output: Path) -> None:
    from smem_jax import patch as patches

    if output.is_dir():
        raise InputError(f"--output {output} is a directory; the name of a file is right")
    patches.save(patch, output)
    size = output.stat().st_size
    print(
        f"{output}: {len(patch.slots):,} rows of {patch.num_lessons:,} lessons, {size / 1e6:.2f} MB"
    )


def _info(args: argparse.Namespace) -> None:
    from smem_jax import patch as patches

    found = patches.summary(patches.load(args.file))
    if args.json:
        print(json.dumps(found, indent=2))
        return
    taught = found.pop("taught")
    for name, value in found.items():
        print(f"{name:20} {plain(value) if isinstance(value, str) else json.dumps(value)}")
    print(f"{'taught':20} {len(taught) if taught else 'not told'}")
    for text in (taught or ())[:10]:
        print(f"  {plain(text[:100])}")
    if taught and len(taught) > 10:
        print(f"  ... and {len(taught) - 10} more; --json has all")


def _verify(args: argparse.Namespace) -> None:
    from smem_jax import patch as patches
    from smem_jax.evaluate import patched

    patch = patches.load(args.file)
    taught = patched.load([patch], args.model)
    print(f"{args.file}: whole, and for this base model")
    if args.facts:
        from smem_jax.data.facts import read_facts

        for kind, (right, asked) in patched.recall_of(taught, read_facts(args.facts)).items():
            print(f"{kind:10} {right} of {asked} right, {right / asked:.1%}")


def _apply(args: argparse.Namespace) -> None:
    from smem_jax.patch import directory

    patch = directory.apply(args.file, args.workdir)
    print(f"{args.workdir}: {patch.about.name} is applied, {len(patch.slots):,} rows")


def _revert(args: argparse.Namespace) -> None:
    from smem_jax.patch import directory

    directory.revert(args.name, args.workdir)
    print(f"{args.workdir}: {args.name} is taken away")


def _diff(args: argparse.Namespace) -> None:
    from smem_jax import patch as patches

    print(json.dumps(patches.diff(patches.load(args.file), patches.load(args.other)), indent=2))


def _merge(args: argparse.Namespace) -> None:
    from smem_jax import patch as patches

    name = args.name or patches.name_for(args.output)
    given = [patches.load(path) for path in args.files]
    found = patches.merge(given, args.rule, name=name, storage=args.storage)
    claims = sum(len(patch.slots) for patch in given)
    print(
        f"{len(found.contested):,} of {claims:,} claims are on slots that another patch has: "
        f"{args.rule}"
    )
    _write(found.patch, args.output)
