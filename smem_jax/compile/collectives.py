"""Which data the devices of a compiled program exchange, and how much of it."""

import dataclasses
import math
import re
from collections.abc import Mapping

import numpy as np

from smem_jax.compile import hlo, loops

KINDS = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
)


@dataclasses.dataclass(frozen=True)
class Collective:
    """One exchange of a compiled program.

    `kind` is one of KINDS. `arrays` are the full arrays, such as 'bf16[32,512,1024]': the result
    of an all-gather; what each device puts in, of any other. `nbytes` is their size, and
    `count` how often a run of the program does it. `group` are the devices that exchange with the
    first one, by their position in the mesh; of a permutation, those that hand on to one another.
    """

    kind: str
    arrays: tuple[str, ...]
    nbytes: int
    group: tuple[int, ...]
    count: int
    op_name: str
    computation: str

    @property
    def group_size(self) -> int:
        """How many devices exchange with one another."""
        return len(self.group)

    @property
    def sent_bytes(self) -> float:
        """Bytes that a device sends in a run of the program, all `count` times together.

        What the ring algorithms need, which is the least that is possible: (n - 1) / n of the
        array, twice that for an all-reduce; the whole array for a permutation.
        """
        if self.kind.startswith("collective"):
            return self.count * self.nbytes * (self.group_size > 0)
        share = (self.group_size - 1) / self.group_size
        return self.count * self.nbytes * share * (2 if self.kind == "all-reduce" else 1)

    def axes(self, mesh_shape: Mapping[str, int]) -> tuple[str, ...]:
        """The mesh axes along which the devices of its group differ; none without a mesh."""
        if not mesh_shape:
            return ()
        places = np.unravel_index(np.array(self.group, int), tuple(mesh_shape.values()))
        return tuple(
            name
            for name, place in zip(mesh_shape, places, strict=True)
            if len(place) and np.ptp(place) > 0
        )


def collectives(hlo_text: str | hlo.Module) -> list[Collective]:
    """All collectives of an optimized program (`Compiled.as_text()`), in the order of its text.

    Asynchronous ones count once, those in a loop as often as it turns. The all-reduce that is
    followed at once by a slice, as the TPU compiler writes a reduce-scatter, is a reduce-scatter.
    """
    module = hlo.parse(hlo_text) if isinstance(hlo_text, str) else hlo_text
    times, callers = loops.runs(module).times, _callers(module)
    return [
        _collective(
            module,
            computation,
            instruction,
            kind,
            times[computation.name],
            callers.get(computation.name, ""),
        )
        for computation in module.computations.values()
        if computation.name in times
        for instruction in computation.instructions.values()
        if (kind := instruction.opcode.removesuffix("-start")) in KINDS
    ]


def _callers(module: hlo.Module) -> dict[str, str]:
    """For a fused computation the JAX operation of its fusion, which alone has a name at times."""
    return {
        each.attribute("calls"): each.op_name
        for computation in module.computations.values()
        for each in computation.instructions.values()
        if each.opcode == "fusion"
    }


def merged(found: list[Collective]) -> list[Collective]:
    """Those of the same kind, arrays and group as one, the counts added; most bytes sent first."""
    together: dict[tuple, Collective] = {}
    for each in found:
        key = (each.kind, each.arrays, tuple(sorted(each.group)))
        before = together.get(key)
        together[key] = (
            dataclasses.replace(before, count=before.count + each.count) if before else each
        )
    return sorted(together.values(), key=lambda each: -each.sent_bytes)


def _collective(
    module: hlo.Module,
    where: hlo.Computation,
    instruction: hlo.Instruction,
    kind: str,
    count: int,
    caller: str,
) -> Collective:
    operands = where.operand_arrays(instruction)
    if kind == "collective-permute":
        group = _permuted(instruction.attributes)
        operands = operands[:1] if len(operands) == 4 else operands  # in place: and where to
    else:
        group = _first_group(instruction.attributes, module.num_devices)
    if kind == "all-reduce" and _is_scattered(where, instruction, len(group)):
        kind = "reduce-scatter"
    factor = len(group) if kind == "all-gather" else 1
    if kind == "all-gather":
        shown = [_gathered(array, instruction, len(group)) for array in operands]
    else:
        shown = [str(array) for array in operands]
    return Collective(
        kind=kind,
        arrays=tuple(shown),
        nbytes=factor * sum(array.nbytes for array in operands),
        group=group,
        count=count,
        op_name=instruction.op_name or caller,
        computation=where.name,
    )


def _gathered(array: hlo.Array, instruction: hlo.Instruction, group_size: int) -> str:
    shape, dimension = list(array.shape), re.search(r"dimensions=\{(\d+)\}", instruction.attributes)
    if dimension:
        shape[int(dimension[1])] *= group_size
    return str(dataclasses.replace(array, shape=tuple(shape)))


def _is_scattered(where: hlo.Computation, instruction: hlo.Instruction, group_size: int) -> bool:
    """Whether all that is returned of an all-reduce is each device's share of it."""
    root = where.source(where.root.name)
    if root.opcode != "dynamic-slice" or where.source(root.operands[0]) != instruction:
        return False
    whole, part = (math.prod(each.arrays[0].shape) for each in (instruction, root))
    return part * group_size <= whole


def _permuted(attributes: str) -> tuple[int, ...]:
    """The chain of devices that hand on to one another, from the first that sends to another."""
    pairs = re.search(r"source_target_pairs=\{([{}\d,]*)\}", attributes)
    found = re.findall(r"\{(\d+),(\d+)\}", pairs[1] if pairs else "")
    targets = {int(source): int(target) for source, target in found if source != target}
    chain: list[int] = list(targets)[:1]
    while chain and chain[-1] in targets and targets[chain[-1]] not in chain:
        chain.append(targets[chain[-1]])
    return tuple(chain)


def _first_group(attributes: str, num_devices: int) -> tuple[int, ...]:
    """The first of the groups of devices, in any of the three ways in which XLA writes them."""
    listed = re.search(r"replica_groups=\{\{([\d,]*)\}", attributes)
    if listed:
        return tuple(int(device) for device in listed[1].split(","))
    iota = re.search(r"replica_groups=\[(\d+),(\d+)\]<=(\[[\d,]*\](?:T\([\d,]*\))?)", attributes)
    if iota:
        return tuple(_iota(iota[3]).reshape(int(iota[1]), int(iota[2]))[0].tolist())
    mesh = re.search(
        r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\(([^)]*(?:\([\d,]*\))?)\))? \{([^}]*)\}",
        attributes,
    )
    if mesh:
        return _mesh_group(*mesh.groups())
    return tuple(range(num_devices))


def _iota(text: str) -> np.ndarray:
    """Device numbers as '[4,2,4]T(2,1,0)' orders them: counted up in that shape, transposed."""
    dims, permutation = re.fullmatch(r"\[([\d,]*)\](?:T\(([\d,]*)\))?", text).groups()  # type: ignore[union-attr]
    devices = np.arange(math.prod(map(int, dims.split(",")))).reshape(
        [int(dim) for dim in dims.split(",")]
    )
    if permutation:
        devices = devices.transpose([int(axis) for axis in permutation.split(",")])
    return devices.reshape(-1)


def _mesh_group(axes: str, device_ids: str | None, chosen: str) -> tuple[int, ...]:
    """The group along some axes of a mesh, or along a part of one: 'axis_0':(before)size."""
    sizes = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", axes)}
    total = math.prod(sizes.values())
    devices = (_iota(device_ids) if device_ids else np.arange(total)).reshape(*sizes.values())
    parts = {
        name: (int(before or 1), int(size) if size else sizes[name])
        for name, before, size in re.findall(r"'([^']+)'(?::\((\d+)\)(\d+))?", chosen)
    }
    index = []
    for name, size in sizes.items():
        before, part = parts.get(name, (size, 1))
        after = size // (before * part)
        index.append(np.arange(part) * after)
    return tuple(devices[np.ix_(*index)].reshape(-1).tolist())
