"""The commands of `smem` for jobs on a mesh of devices: train, pretrain, compile."""

import argparse
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from smem_jax.errors import InputError, TransientError, print_error

_FAILED, _BAD_INPUT, _DOES_NOT_FIT = 1, 2, 3
_INTERRUPTED = 130
_TERMINATED = 143


def add_commands(
    add: Callable[..., argparse.ArgumentParser],
    add_config: Callable[[argparse.ArgumentParser], None],
    add_workdir: Callable[[argparse.ArgumentParser, str], None],
) -> None:
    """Adds the commands by means of `smem_jax.cli`."""
    for train in (
        add("train", _train, "Pretrain or finetune on a mesh of devices, by any processes."),
        add("pretrain", _train, "Pretrain a model, with memory layers or without, from scratch."),
    ):
        add_workdir(train, "where all results go, seen by all processes; a job in it goes on")
        train.add_argument("--overwrite", action="store_true", help="drop what the directory holds")
        train.add_argument(
            "--distributed",
            action="store_true",
            help="join the other processes of this TPU pod, GKE or SLURM job",
        )
        train.add_argument("--coordinator", metavar="HOST:PORT", help="where process 0 listens")
        train.add_argument("--num-processes", type=int, metavar="N", help="of the job")
        train.add_argument("--process-id", type=int, metavar="I", help="of this process, from 0")
        train.add_argument(
            "--profile", metavar="FIRST:LAST", help="batches to trace with the profiler"
        )
        add_config(train)

    check = add("compile", _compile, "Compile a job for a TPU pod that is not here; does it fit?")
    check.add_argument(
        "--topology",
        required=True,
        metavar="NAME",
        help="a slice of TPUs, such as v5p:4x4x4, or GPUs, such as gpu:h100x8",
    )
    check.add_argument("--json", type=Path, metavar="FILE", help="write the report there, too")
    add_config(check)


def _train(args: argparse.Namespace) -> int | None:
    from smem_jax import config
    from smem_jax.job_settings import job_defaults

    profile = _profile(args.profile)
    settings = config.load(args.config, args.words, job_defaults())
    if args.command == "pretrain" and settings.objective != "pretrain":
        raise InputError(
            f"{args.config}: objective={settings.objective!r}; `smem train` runs that, "
            "`smem pretrain` only 'pretrain'"
        )
    from smem_jax.train import job, processes

    processes.start(args.distributed, args.coordinator, args.num_processes, args.process_id)
    status = 0
    try:
        found = job.run(settings, args.workdir, args.overwrite, profile)
        print(f"{args.workdir}: {found['batches']} batches done")
    except job.Stopped as stopped:
        without = " without --overwrite" if args.overwrite else ""
        print(f"smem: {stopped}; the same command{without} goes on", file=sys.stderr)
        status = _TERMINATED
    except InputError as error:
        if args.debug:
            raise
        print_error(error)
        processes.leave(_FAILED if isinstance(error, TransientError) else _BAD_INPUT)
    except KeyboardInterrupt:
        print("\nsmem: interrupted; the same command goes on", file=sys.stderr)
        processes.leave(_INTERRUPTED)
    except Exception as error:
        # A launcher starts a job anew unless its input is bad: storage may be back by then.
        if isinstance(error, OSError) and not args.debug:
            print_error(error)
        else:
            traceback.print_exc()
        processes.leave(_FAILED)
    return status


def _profile(text: str | None) -> tuple[int, int] | None:
    """The two numbers of FIRST:LAST."""
    if text is None:
        return None
    first, _, last = text.partition(":")
    if not (first.isdigit() and last.isdigit() and int(first) <= int(last)):
        raise InputError(f"--profile {text}: two numbers of batches, such as 10:12, are right")
    return int(first), int(last)


def _compile(args: argparse.Namespace) -> int:
    from smem_jax.compile import topology

    machines = topology.parse(args.topology)
    topology.prepare(machines)  # before JAX is imported
    from smem_jax import config
    from smem_jax.job_settings import job_defaults

    settings = config.load(args.config, args.words, job_defaults())
    from smem_jax.compile import command

    return 0 if command.run(settings, machines, args.json) else _DOES_NOT_FIT
