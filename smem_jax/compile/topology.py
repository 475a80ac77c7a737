"""The machines that a configuration is checked for: `v5p:4x4x4`, `gpu:h100x8`.

`prepare` has to run before JAX is imported: JAX and libtpu read their environment once.
"""

import dataclasses
import importlib.util
import math
import os
import re
from collections.abc import Sequence
from typing import Any

from smem_jax.compile.chips import GPUS, TPUS, Chip
from smem_jax.errors import InputError

_TPU = re.compile(r"(\w+):(\d+(?:x\d+)*)")
_CHIPS_OF_HOST = 4
_GPU = re.compile(r"gpu:([a-z]+\d+(?:-\d+)?)(?:x(\d+))?")

# Any machine is as good as another one for the compiler: the topology is said to it.
_ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # none of the processes that load it opens a TPU
}


@dataclasses.dataclass(frozen=True)
class Topology:
    """Machines by name; `shape` is the grid of a TPU slice, or the number of GPUs."""

    name: str
    chip: Chip
    shape: tuple[int, ...]

    @property
    def num_chips(self) -> int:
        """Chips, all machines together."""
        return math.prod(self.shape)

    @property
    def num_devices(self) -> int:
        """What JAX calls devices."""
        return self.num_chips * self.chip.devices


def parse(name: str) -> Topology:
    """The topology that a name stands for. Raises InputError where it stands for none."""
    gpu, tpu = _GPU.fullmatch(name), _TPU.fullmatch(name)
    if gpu and gpu[1] in GPUS:
        topology = Topology(name, GPUS[gpu[1]], (int(gpu[2] or 1),))
    elif tpu and tpu[1] in TPUS:
        topology = Topology(name, TPUS[tpu[1]], tuple(int(size) for size in tpu[2].split("x")))
    else:
        raise InputError(
            f"--topology {name!r} is none: a TPU ({', '.join(TPUS)}) with the shape of its slice, "
            f"such as v5p:4x4x4, or a GPU ({', '.join(GPUS)}) with a number, such as gpu:h100x8, "
            "is right"
        )
    if len(topology.shape) != topology.chip.grid or min(topology.shape) < 1:
        raise _none(topology, f"its shape has to be like {topology.chip.shapes[-1]}")
    if topology.num_chips > topology.chip.most:
        raise _none(topology, f"{topology.num_chips} chips exceed {topology.chip.most}")
    return topology


def _none(topology: Topology, reason: str) -> InputError:
    chip = topology.chip
    start = f"gpu:{chip.name}x" if chip.is_gpu else f"{chip.name}:"
    return InputError(
        f"--topology {topology.name} does not exist ({reason}); these do: "
        f"{', '.join(start + shape for shape in chip.shapes)}"
    )


def prepare(topology: Topology) -> None:
    """Sets the environment for `devices`. Raises InputError without a compiler for TPUs."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    if topology.chip.is_gpu:
        flags = [each for each in os.environ.get("XLA_FLAGS", "").split() if _COUNT not in each]
        flags.append(f"--{_COUNT}={topology.num_devices}")
        os.environ["XLA_FLAGS"] = " ".join(flags)
        return
    if importlib.util.find_spec("libtpu") is None:
        raise InputError(
            f"--topology {topology.name}: the compiler for TPUs, libtpu, is not installed; "
            "pip install 'smem-jax[tpu]'"
        )
    for variable, value in _ENVIRONMENT.items():
        os.environ.setdefault(variable, value)


_COUNT = "xla_force_host_platform_device_count"


def devices(topology: Topology) -> Sequence[Any]:
    """Devices to compile for, which cannot run anything; for GPUs, simulated ones of the CPU.

    Raises InputError for a TPU slice that does not exist.
    """
    import jax
    from jax.experimental import topologies

    if topology.chip.is_gpu:
        return jax.devices("cpu")[: topology.num_devices]
    options: dict[str, Any] = {}
    if topology.num_chips < _CHIPS_OF_HOST:
        options["chips_per_host_bounds"] = (*topology.shape, 1)[:3]
    if topology.chip.name == "v4":  # one device per chip, as `jax.devices()` has it there
        options["chip_config_name"] = "megacore"
    try:
        found = topologies.get_topology_desc(
            platform="tpu", topology_name=topology.name, **options
        ).devices
    except Exception as error:  # jaxlib raises the class of the runtime, which is not public
        reason = re.sub(r"^[A-Z_]+: ", "", str(error)).split("\n")[0].rstrip(". ")
        raise _none(topology, reason) from error
    if len(found) != topology.num_devices:
        raise _none(topology, f"it has {len(found)} devices instead of {topology.num_devices}")
    return found
