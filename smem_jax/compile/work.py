"""How much a compiled program computes and how many bytes it moves through the large memory.

XLA's cost analysis counts the body of a loop once and looks into no Pallas kernel. Here loops are
multiplied out, arrays in the small memory of a chip (VMEM) cost nothing, and a Pallas kernel that
takes a table and row numbers reads the rows that it is told to, no more than the table has.
"""

import dataclasses
import math
import re

import numpy as np

from smem_jax.compile import hlo, loops

PALLAS = "tpu_custom_call"
# What moves nothing, or is counted elsewhere: a start moves what its done hands on.
_FREE = frozenset(
    {
        *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "domain"),
        *("while", "conditional", "call", "call-start", "async-start", "async-update"),
        *("partition-id", "replica-id", "copy-done", "add-dependency", "optimization-barrier"),
    }
)
_FREE_CALLS = frozenset({"AllocateBuffer", "PrepareAsyncCallStart", "PrepareAsyncCallDone"})
_SLICES = ("dynamic-slice", "slice", "gather")
_LONG_LOOP = 1000


@dataclasses.dataclass(frozen=True)
class Work:
    """What one device does when a program runs once.

    `matrix_flops` are those of matrix products and convolutions; `matrix_flops_once` the same with
    every loop turned once, as XLA counts. `hbm_bytes` are read and written in the large memory.
    `pallas_kernels` are runs of Pallas kernels. `long_loops` are (operation, turns altogether) of
    the loops that turn more than a thousand times; `unknown_loops` are the operations of loops
    whose length depends on data: they are counted as one turn.
    """

    matrix_flops: float
    matrix_flops_once: float
    hbm_bytes: float
    pallas_kernels: int
    long_loops: tuple[tuple[str, int], ...]
    unknown_loops: tuple[str, ...]


def work(module: hlo.Module) -> Work:
    """What the program of one device does."""
    runs = loops.runs(module)
    flops = flops_once = hbm = 0.0
    kernels = 0
    long_loops: dict[str, int] = {}
    unknown: dict[str, None] = {}
    for name, times in runs.times.items():
        computation = module.computations[name]
        for each in computation.instructions.values():
            done = matrix_flops(computation, each)
            flops, flops_once = flops + times * done, flops_once + done
            if name in runs.fused:
                continue
            hbm += times * hbm_bytes(module, computation, each)
            kernels += times * (each.attribute("custom_call_target") == PALLAS)
            if each.opcode == "while":
                turns = loops.trip_count(module, computation, each)
                if turns is None:
                    unknown[each.op_name or each.name] = None
                elif turns * times > _LONG_LOOP:
                    key = each.op_name or each.name
                    long_loops[key] = long_loops.get(key, 0) + turns * times
    return Work(flops, flops_once, hbm, kernels, tuple(long_loops.items()), tuple(unknown))


def matrix_flops(where: hlo.Computation, instruction: hlo.Instruction) -> float:
    """Operations of a matrix product or a convolution, two for a multiplication and its sum."""
    if instruction.opcode == "dot":
        left = where.operand_arrays(instruction)[0].shape
        dims = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", instruction.attributes)
        summed = [left[int(dim)] for dim in dims[1].split(",") if dim] if dims else []
        return 2.0 * math.prod(instruction.arrays[0].shape) * math.prod(summed)
    if instruction.opcode == "convolution":
        return _convolution_flops(where, instruction)
    return 0.0


def _convolution_flops(where: hlo.Computation, instruction: hlo.Instruction) -> float:
    """As `matrix_flops`. The TPU compiler writes every matrix product as a convolution."""
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.attributes)
    if labels is None:
        return 0.0
    inputs, kernel = (array.shape for array in where.operand_arrays(instruction)[:2])
    output = instruction.arrays[0].shape
    window = _window(instruction.attributes)
    flops = 2.0 * output[labels[3].index("b")] * output[labels[3].index("f")]
    flops *= kernel[labels[2].index("i")]
    for axis in range(len(output) - 2):
        flops *= _pairs(
            inputs[labels[1].index(str(axis))],
            kernel[labels[2].index(str(axis))],
            output[labels[3].index(str(axis))],
            {name: values[axis] for name, values in window.items()},
        )
    return flops


def _window(attributes: str) -> dict[str, list[str]]:
    """Of `window={size=3x3 pad=1_1x1_1}`: for each name the value of each axis."""
    found = re.search(r"window=\{([^}]*)\}", attributes)
    named = re.findall(r"(\w+)=([\w\-]+)", found[1] if found else "")
    return {name: value.split("x") for name, value in named}


def _pairs(inputs: int, kernel: int, output: int, window: dict[str, str]) -> int:
    """How many pairs of a place in the output and one in the kernel meet an input, on one axis."""
    if not window:
        return output * kernel
    stride, low = int(window.get("stride", 1)), int(window.get("pad", "0_0").split("_")[0])
    kernel_step, input_step = (int(window.get(f"{side}_dilate", 1)) for side in ("rhs", "lhs"))
    places = np.arange(output)[:, None] * stride + np.arange(kernel) * kernel_step - low
    inside = (places >= 0) & (places <= (inputs - 1) * input_step) & (places % input_step == 0)
    return int(inside.sum())


def hbm_bytes(module: hlo.Module, where: hlo.Computation, instruction: hlo.Instruction) -> float:
    """Bytes that an instruction outside of a fusion reads and writes in the large memory."""
    opcode = instruction.opcode
    if opcode in _FREE or instruction.attribute("custom_call_target") in _FREE_CALLS:
        return 0.0
    if opcode == "copy-start" or opcode.endswith("-done"):
        return _in_hbm(instruction.arrays)
    operands = where.operand_arrays(instruction)
    if opcode.endswith("-start"):
        return _in_hbm(operands)
    written = _in_hbm(instruction.arrays)
    if opcode in _SLICES:
        return 2 * written
    if opcode == "dynamic-update-slice":
        return 2 * _in_hbm(operands[1:2])
    if opcode == "scatter":
        return 3 * _in_hbm(operands[-1:])
    if instruction.attribute("custom_call_target") == PALLAS:
        return written + _kernel_reads(operands)
    if opcode == "fusion":
        return _fusion_bytes(module, where, instruction)
    return written + _in_hbm(operands)


def _in_hbm(found: list[hlo.Array] | tuple[hlo.Array, ...]) -> float:
    return float(sum(array.nbytes for array in found if array.in_hbm))


def _kernel_reads(operands: list[hlo.Array]) -> float:
    """What a Pallas kernel reads: of a table the rows that its row numbers can name."""
    numbers = [math.prod(each.shape) for each in operands if each.dtype == "s32"]
    rows = max(numbers, default=0)
    total = 0.0
    for each in operands:
        is_table = len(each.shape) == 2 and 0 < rows < each.shape[0]
        share = rows / each.shape[0] if is_table else 1.0
        total += share * each.nbytes * each.in_hbm
    return total


def _fusion_bytes(
    module: hlo.Module, where: hlo.Computation, instruction: hlo.Instruction
) -> float:
    """Operands and results; of what is only sliced inside, or updated in place, that part."""
    inside = module.computations[instruction.attribute("calls")]
    total, in_place = 0.0, set()
    root = inside.root
    outputs = [inside.source(name) for name in root.operands] if root.opcode == "tuple" else [root]
    for result, array in zip(outputs, instruction.arrays, strict=False):
        result = inside.source(result.name)
        if result.opcode in ("dynamic-update-slice", "scatter"):
            target = inside.source(result.operands[0])
            update = inside.operand_arrays(result)[1 if result.opcode != "scatter" else -1]
            total += array.in_hbm * 2 * update.nbytes
            in_place.add(target.name)
        else:
            total += array.in_hbm * array.nbytes
    for number, name in enumerate(instruction.operands):
        arrays, parameter = where.instructions[name].arrays, inside.parameters.get(number)
        if parameter is None or parameter.name in in_place:
            continue
        users = _users(inside, parameter.name)
        if users and all(
            each.opcode in _SLICES and inside.source(each.operands[0]) == parameter
            for each in users
        ):
            parts = sum(each.arrays[0].nbytes for each in users)
            total += min(parts, _in_hbm(arrays)) if arrays and arrays[0].in_hbm else 0
        else:
            total += _in_hbm(arrays)
    return total


def _users(inside: hlo.Computation, name: str) -> list[hlo.Instruction]:
    """The instructions that take a value, seen through copies and conversions."""
    found = []
    for each in inside.users[name]:
        through = each.opcode in ("bitcast", "convert", "copy", "reshape")
        found += _users(inside, each.name) if through else [each]
    return found
