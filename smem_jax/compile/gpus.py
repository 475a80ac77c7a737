"""What a step needs of each GPU, by arithmetic: there is no compiler for GPUs without one."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from smem_jax.compile.check import Part, state_parts
from smem_jax.compile.chips import Chip
from smem_jax.compile.liveness import peak_bytes
from smem_jax.train.program import Program

# What is left of a GPU's memory beside driver, CUDA, NCCL and fragments; a guess.
USABLE = 0.9


@dataclasses.dataclass(frozen=True)
class GpuReport:
    """Bytes of one GPU, and the least time that the model's own operations take.

    `temporaries` is an estimate of gradients and activations together, at their most. Nothing is
    known of exchanges between GPUs and of traffic to their memory.
    """

    chip: Chip
    num_devices: int
    parts: tuple[Part, ...]
    batch: int
    temporaries: int
    tokens: int
    model_flops: float

    @property
    def total(self) -> int:
        """What has to fit."""
        return sum(part.device_bytes for part in self.parts) + self.batch + self.temporaries

    @property
    def capacity(self) -> int:
        """What can be had."""
        return int(USABLE * self.chip.hbm_bytes)

    @property
    def fits(self) -> bool:
        """Whether it does, by this estimate."""
        return self.total <= self.capacity

    @property
    def step_seconds(self) -> float:
        """The model's operations at the peak rate."""
        return self.model_flops / (self.chip.flops * self.num_devices)

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        derived = ("total", "capacity", "fits", "step_seconds")
        return dataclasses.asdict(self) | {name: getattr(self, name) for name in derived}


def estimate(
    program: Program,
    chip: Chip,
    split_sizes: Mapping[int, int],
    *,
    tokens: int,
    model_flops: float,
) -> GpuReport:
    """The report of a program that is only traced.

    Args:
      program: of as many devices as there are GPUs.
      chip: of `smem_jax.compile.chips.GPUS`.
      split_sizes: lengths of axes of activations that are split as well as the batch is, such as
        the number of heads, and into how many parts.
      tokens, model_flops: of a step, all GPUs together.
    """
    state, batch, mesh = program.state, program.rows, program.mesh
    leaves = jax.tree.leaves(state)
    parts_of = {tuple(sorted(leaf.shape)): _num_parts(leaf) for leaf in leaves if leaf.ndim > 1}
    rows, length = jax.tree.leaves(batch)[0].shape
    batch_parts = math.prod(mesh.shape[axis] for axis in program.rules["batch"])

    def size(aval: Any) -> int:
        if not hasattr(aval, "shape") or not hasattr(aval.dtype, "itemsize"):
            return 0
        shape = aval.shape
        parts = parts_of.get(tuple(sorted(shape)), 1)
        if parts == 1 and (rows in shape or rows * length in shape):
            others = [split_sizes[n] for n in shape if n in split_sizes]
            parts = batch_parts * max(others, default=1)
        return math.prod(shape) * aval.dtype.itemsize // parts

    with program.use():
        traced = jax.make_jaxpr(program.objective.step)(state, batch)
    return GpuReport(
        chip=chip,
        num_devices=mesh.size,
        parts=state_parts(state),
        batch=sum(_device_bytes(leaf) for leaf in jax.tree.leaves(batch)),
        temporaries=peak_bytes(traced, size),
        tokens=tokens,
        model_flops=model_flops,
    )


def _num_parts(leaf: Any) -> int:
    whole, part = np.prod(leaf.shape), np.prod(leaf.sharding.shard_shape(leaf.shape))
    return int(whole // max(part, 1))


def _device_bytes(leaf: Any) -> int:
    return math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
