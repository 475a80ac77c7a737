"""`smem compile`: the step of a configuration, for machines that are not here.

The environment has to be prepared before this is imported, by `topology.prepare`.
"""

import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from smem_jax import atomic
from smem_jax.compile import check, gpus, table
from smem_jax.compile.topology import Topology, devices
from smem_jax.errors import InputError
from smem_jax.train.flops import step_flops
from smem_jax.train.program import Program


def run(config: ConfigDict, topology: Topology, json_file: Path | None = None) -> bool:
    """Prints the report of a configuration, and writes it as JSON; whether it fits.

    Raises InputError for a topology that does not exist, a configuration that makes no sense on
    it, and a `json_file` in no directory.
    """
    if json_file is not None and (json_file.is_dir() or not json_file.parent.is_dir()):
        raise InputError(f"--json {json_file}: a file in a directory that exists is right")
    program = Program(config, devices(topology))
    mesh = {axis: program.mesh.shape[axis] for axis in program.mesh.axis_names}
    known = {
        "tokens": config.train.batch_size * config.data.seq_len,
        "model_flops": step_flops(config),
    }
    shown = " ".join(f"{axis}={size}" for axis, size in mesh.items())
    heading = f"{topology.name}, {topology.num_devices} devices: mesh {shown}"
    found: check.Report | gpus.GpuReport
    if topology.chip.is_gpu:
        found = gpus.estimate(program, topology.chip, _split_sizes(config, mesh), **known)
        text = table.of_gpu(found)
    else:
        try:
            with _working(f"compiling for {topology.name}"):
                compiled = check.compiled(program.lower_step())
        except check.DoesNotFit as error:
            parts = check.state_parts(program.state)
            print(f"{heading}\n\n{table.given_up(str(error), parts)}")
            _write(json_file, {"topology": topology.name, "fits": False, "reason": str(error)})
            return False
        found = check.analyse(
            compiled,
            topology.chip,
            topology.num_devices,
            state=program.state,
            mesh_shape=mesh,
            **known,
        )
        text = table.of_tpu(found)
    print(f"{heading}\n\n{text}")
    _write(json_file, {"topology": topology.name, **found.as_dict()})
    return found.fits


def _split_sizes(config: ConfigDict, mesh: Mapping[str, int]) -> dict[int, int]:
    """Lengths of the axes of activations that the mesh axis 'tensor' splits."""
    m = config.model
    lengths = (m.vocab_size, m.ffn_dim, m.num_heads, m.num_kv_heads, m.num_heads * m.head_dim)
    return dict.fromkeys(lengths, mesh["tensor"])


def _write(file: Path | None, found: dict[str, Any]) -> None:
    if file is not None:
        atomic.write_text(file, json.dumps(found, indent=2, sort_keys=True) + "\n")


@contextmanager
def _working(what: str) -> Iterator[None]:
    """Says what takes so long, and on a terminal for how long it has."""
    if not sys.stderr.isatty():
        print(f"{what} ...", file=sys.stderr, flush=True)
        yield
        return
    done, start = threading.Event(), time.monotonic()

    def show() -> None:
        while not done.wait(0.5):
            seconds = time.monotonic() - start
            print(f"\r{what}: {seconds:.0f} s ", end="", file=sys.stderr, flush=True)

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        print("\r\033[K", end="", file=sys.stderr, flush=True)
