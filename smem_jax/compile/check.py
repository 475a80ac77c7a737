"""What a compiled step needs of each device, and how fast it can be at best."""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from smem_jax.compile import hlo
from smem_jax.compile.chips import Chip
from smem_jax.compile.collectives import Collective, collectives, merged
from smem_jax.compile.work import Work, work


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes of one device's large memory.

    What a step takes is `arguments` and returns is `outputs`, of which `aliased` lie where the
    arguments lay; `temporaries` are there while it runs, `code` is the program.
    """

    arguments: int
    outputs: int
    aliased: int
    temporaries: int
    code: int
    capacity: int

    @property
    def total(self) -> int:
        """What has to fit."""
        return self.arguments + self.outputs - self.aliased + self.temporaries + self.code

    @property
    def fits(self) -> bool:
        """Whether it does."""
        return self.total <= self.capacity


@dataclasses.dataclass(frozen=True)
class Part:
    """Arrays of the state with the same first name: their bytes altogether, and of one device."""

    name: str
    nbytes: int
    device_bytes: int


@dataclasses.dataclass(frozen=True)
class Report:
    """One device's share of a step; times are seconds, and least ones, each taken by itself.

    Attributes:
      chip: the share of a chip that a device has.
      num_devices: how many take part.
      memory: bytes.
      parts: of the state, as far as it is known.
      flops: operations, loops multiplied out.
      work: what the program was seen to do.
      xla_flops, xla_bytes: by XLA's cost analysis, which counts the body of a loop once.
      collectives: the same ones together, the most bytes first.
      mesh_shape: sizes of the mesh by name, if they are known.
      tokens: of a step, all devices together; 0 if unknown.
      model_flops: what the model itself asks for in a step, all devices together; 0 if unknown.
    """

    chip: Chip
    num_devices: int
    memory: Memory
    parts: tuple[Part, ...]
    flops: float
    work: Work
    xla_flops: float
    xla_bytes: float
    collectives: tuple[Collective, ...]
    mesh_shape: Mapping[str, int]
    tokens: int
    model_flops: float

    @property
    def fits(self) -> bool:
        """Whether the memory does."""
        return self.memory.fits

    @property
    def sent_bytes(self) -> float:
        """Bytes that a device sends to others."""
        return sum(each.sent_bytes for each in self.collectives)

    @property
    def seconds(self) -> dict[str, float]:
        """The least time of computing, of the large memory, and of the interconnect."""
        return {
            "compute": self.flops / self.chip.flops,
            "HBM": self.work.hbm_bytes / self.chip.hbm_bandwidth,
            "interconnect": self.sent_bytes / self.chip.interconnect,
        }

    @property
    def bound(self) -> str:
        """Which of them takes the longest."""
        return max(self.seconds, key=lambda name: self.seconds[name])

    @property
    def step_seconds(self) -> float:
        """The least time of a step, with everything overlapped."""
        return self.seconds[self.bound]

    @property
    def tokens_per_second(self) -> float:
        """The most there can be, all devices together."""
        return self.tokens / self.step_seconds if self.step_seconds else 0.0

    @property
    def mfu(self) -> float:
        """The highest model FLOP utilisation there can be, from 0 to 1."""
        peak = self.chip.flops * self.num_devices * self.step_seconds
        return self.model_flops / peak if peak else 0.0

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        derived = (
            "fits",
            "sent_bytes",
            "seconds",
            "bound",
            "step_seconds",
            "mfu",
            "tokens_per_second",
        )
        found = dataclasses.asdict(self) | {name: getattr(self, name) for name in derived}
        found["memory"]["total"] = self.memory.total
        for each, shown in zip(self.collectives, found["collectives"], strict=True):
            shown.update(sent_bytes=each.sent_bytes, axes=each.axes(self.mesh_shape))
        return found


class DoesNotFit(Exception):
    """The compiler gave up for want of memory; the message is its own, in one line."""


def compiled(lowered: jax.stages.Lowered) -> jax.stages.Compiled:
    """The program, even where it needs more memory than there is, as far as the compiler does that.

    Raises DoesNotFit where it does not.
    """
    try:
        return lowered.compile(compiler_options={"xla_tpu_no_crash_on_oom": True})
    except Exception as error:  # of the runtime's own class, which is not public
        if "No such compile option" not in str(error):
            _raise_if_too_large(error)
            raise
    try:
        return lowered.compile()
    except Exception as error:
        _raise_if_too_large(error)
        raise


def _raise_if_too_large(error: Exception) -> None:
    found = re.search(r"RESOURCE_EXHAUSTED: *(.*)", str(error))
    if found:
        raise DoesNotFit(found[1].strip()) from error


def analyse(
    program: jax.stages.Compiled,
    chip: Chip,
    num_devices: int,
    *,
    state: Any = None,
    mesh_shape: Mapping[str, int] | None = None,
    tokens: int = 0,
    model_flops: float = 0.0,
) -> Report:
    """The report of a compiled step.

    Args:
      program: for `num_devices` devices.
      chip: from `smem_jax.compile.chips`; a device may be a part of it.
      num_devices: that take part.
      state: pytree of arrays or `jax.ShapeDtypeStruct` with shardings, to name what is large.
      mesh_shape: sizes of the mesh in its order, to name the axes of collectives.
      tokens: of a step, all devices together.
      model_flops: of a step, all devices together.
    """
    share = chip.of_device()
    text, sizes, cost = program.as_text(), program.memory_analysis(), program.cost_analysis() or {}
    if text is None or sizes is None:
        raise ValueError("the compiler says nothing of this program")
    module = hlo.parse(text)
    done = work(module)
    xla_flops = float(cost.get("flops", 0.0))
    return Report(
        chip=share,
        num_devices=num_devices,
        memory=Memory(
            arguments=sizes.argument_size_in_bytes,
            outputs=sizes.output_size_in_bytes,
            aliased=sizes.alias_size_in_bytes,
            temporaries=sizes.temp_size_in_bytes,
            code=sizes.generated_code_size_in_bytes,
            capacity=share.hbm_bytes,
        ),
        parts=state_parts(state),
        flops=xla_flops + done.matrix_flops - done.matrix_flops_once,
        work=done,
        xla_flops=xla_flops,
        xla_bytes=float(cost.get("bytes accessed", 0.0)),
        collectives=tuple(merged(collectives(module))),
        mesh_shape=dict(mesh_shape or {}),
        tokens=tokens,
        model_flops=model_flops,
    )


def state_parts(state: Any) -> tuple[Part, ...]:
    """The arrays of a state, by the first name in their path; the largest first."""
    sums: dict[str, list[int]] = {}
    for path, array in jax.tree_util.tree_flatten_with_path(state)[0]:
        name = jax.tree_util.keystr(path[:1], simple=True)
        both = sums.setdefault(name, [0, 0])
        shape = array.shape if array.sharding is None else array.sharding.shard_shape(array.shape)
        for number, dims in enumerate((array.shape, shape)):
            both[number] += math.prod(dims) * array.dtype.itemsize
    return tuple(
        sorted((Part(name, *both) for name, both in sums.items()), key=lambda p: -p.device_bytes)
    )


def advice(memory: Memory, parts: Sequence[Part]) -> str:
    """What to change so that less memory is needed, beginning with what is largest."""
    kept = memory.arguments + memory.outputs - memory.aliased
    if memory.temporaries > kept:
        return (
            "most are temporaries: a smaller train.batch_size, model.remat=true, or more devices "
            "on mesh axes that split the batch"
        )
    largest = parts[0] if parts else None
    if largest and "values" in largest.name:
        return (
            f"most is {largest.name}: split the table over more devices (mesh.memory, or more axes "
            "in mesh.rules.value or mesh.rules.slots), memory.values_dtype='bfloat16', or fewer "
            "memory.num_slots"
        )
    named = f"most is {largest.name}" if largest else "most are arguments"
    return (
        f"{named}: split parameters over more devices (mesh.fsdp, mesh.tensor), or "
        "model.params_dtype='bfloat16'"
    )
