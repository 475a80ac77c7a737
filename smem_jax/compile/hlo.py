"""Reads the text of an optimized XLA program, as `jax.stages.Compiled.as_text()` gives it.

Only as much as is asked of it here: computations, their instructions, and the arrays of these.
"""

import dataclasses
import functools
import math
import re

_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_LEFT = re.compile(r"^\s*(ROOT )?%?([\w.\-]+) = ")
_OPCODE = re.compile(r" ?([a-z][\w\-]*)\(")
OPERAND = re.compile(r"%([\w.\-]+)")
_ARRAY = re.compile(r"\b([a-z]\w*)\[([\d,<=]*)\](?:\{([^{}]*)\})?")
_BITS = re.compile(r"[a-z]+(\d+)")
# Operations that hand on a value as it is, so that what it is can be asked of their operand.
_HANDING_ON = ("copy", "copy-start", "copy-done", "bitcast", "convert", "reshape")


@dataclasses.dataclass(frozen=True)
class Array:
    """An array of a program: type, dimensions, and whether it lies in the chip's large memory."""

    dtype: str
    shape: tuple[int, ...]
    in_hbm: bool

    @property
    def nbytes(self) -> int:
        """Bytes of its elements, without what a tiled layout adds."""
        found = _BITS.match(self.dtype)
        bits = int(found[1]) if found else 8 * (self.dtype == "pred")  # 0 for a token
        return math.ceil(math.prod(self.shape) * bits / 8)

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line: `name = type opcode(arguments), attributes`."""

    name: str
    type: str
    opcode: str
    arguments: str
    attributes: str
    is_root: bool

    @functools.cached_property
    def operands(self) -> tuple[str, ...]:
        """The names of the instructions whose values it takes."""
        return tuple(OPERAND.findall(self.arguments))

    @functools.cached_property
    def arrays(self) -> tuple[Array, ...]:
        """The arrays of the result, those inside of tuples included."""
        return arrays(self.type)

    @property
    def op_name(self) -> str:
        """The JAX operation that it comes from, such as 'jit(step)/jvp()/dot_general', or ''."""
        found = re.search(r'op_name="([^"]*)"', self.attributes)
        return found[1] if found else ""

    def attribute(self, name: str) -> str:
        """The computation or the word that an attribute names; '' without one."""
        found = re.search(rf'\b{name}="?%?([\w.\-]+)', self.attributes)
        return found[1] if found else ""


@dataclasses.dataclass(frozen=True)
class Computation:
    """A function of a program; its instructions by name, in order."""

    name: str
    instructions: dict[str, Instruction]

    @functools.cached_property
    def root(self) -> Instruction:
        """The instruction whose value is returned."""
        return next(each for each in self.instructions.values() if each.is_root)

    @functools.cached_property
    def parameters(self) -> dict[int, Instruction]:
        """The instructions that stand for its arguments, by number."""
        found = (each for each in self.instructions.values() if each.opcode == "parameter")
        return {int(each.arguments): each for each in found}

    @functools.cached_property
    def users(self) -> dict[str, list[Instruction]]:
        """For every instruction the ones that take its value."""
        users: dict[str, list[Instruction]] = {name: [] for name in self.instructions}
        for each in self.instructions.values():
            for operand in dict.fromkeys(each.operands):
                users[operand].append(each)
        return users

    def operand_arrays(self, instruction: Instruction) -> list[Array]:
        """The arrays that an instruction takes."""
        return [a for name in instruction.operands for a in self.instructions[name].arrays]

    def source(self, name: str) -> Instruction:
        """Where a value comes from, before copies and conversions."""
        found = self.instructions[name]
        while found.opcode in _HANDING_ON:
            found = self.instructions[found.operands[0]]
        return found


@dataclasses.dataclass(frozen=True)
class Module:
    """The program of each of `num_devices` devices."""

    computations: dict[str, Computation]
    entry: str
    num_devices: int


def arrays(type_text: str) -> tuple[Array, ...]:
    """The arrays of a type, tuples flattened.

    >>> [str(array) for array in arrays("(bf16[8,128]{1,0:T(8,128)(2,1)S(1)}, u32[])")]
    ['bf16[8,128]', 'u32[]']
    """
    found = []
    for dtype, dims, layout in _ARRAY.findall(type_text):
        shape = tuple(int(dim.removeprefix("<=")) for dim in dims.split(",") if dim)
        space = re.search(r"S\((\d+)\)", layout)
        found.append(Array(dtype, shape, space is None or space[1] == "0"))
    return tuple(found)


def parse(text: str) -> Module:
    """The program that `Compiled.as_text()` describes. Raises ValueError where it is none."""
    computations: dict[str, Computation] = {}
    entry, current = "", None
    for line in text.splitlines():
        if current is None:
            if header := _HEADER.match(line):
                current = computations[header[2]] = Computation(header[2], {})
                entry = header[2] if header[1] else entry
        elif line.startswith("}"):
            current = None
        elif left := _LEFT.match(line):
            instruction = _instruction(line, left)
            current.instructions[instruction.name] = instruction
    if not entry:
        raise ValueError("this is not the text of a compiled program: it has no ENTRY computation")
    head = text[: text.index("\n")]
    counts = (re.search(rf"\b{name}=(\d+)", head) for name in ("num_partitions", "replica_count"))
    return Module(computations, entry, math.prod(int(found[1]) for found in counts if found))


def _instruction(line: str, left: re.Match) -> Instruction:
    start = left.end()
    end = _closing(line, start) if line[start] == "(" else line.index(" ", start)
    opcode = _OPCODE.match(line, end)
    if opcode is None:
        raise ValueError(f"this line of a compiled program makes no sense: {line[:200]!r}")
    close = _closing(line, opcode.end() - 1)
    return Instruction(
        name=left[2],
        type=line[start:end],
        opcode=opcode[1],
        arguments=line[opcode.end() : close - 1],
        attributes=line[close:],
        is_root=bool(left[1]),
    )


def _closing(line: str, start: int) -> int:
    """The position after the parenthesis that closes the one at `start`."""
    depth = 0
    for found in re.compile(r"[()]").finditer(line, start):
        depth += 1 if found[0] == "(" else -1
        if depth == 0:
            return found.end()
    raise ValueError(f"this line of a compiled program makes no sense: {line[:200]!r}")
