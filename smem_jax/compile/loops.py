"""How often the computations of a program run: a loop's body as many times as the loop turns.

XLA's own cost analysis counts such a body once, and the TPU compiler keeps no note of how often it
runs, so that is read off the loop's counter.
"""

import dataclasses
import math
import re

from smem_jax.compile.hlo import OPERAND, Computation, Instruction, Module


@dataclasses.dataclass
class Runs:
    """How often the computations of a program run when it runs once.

    Where a condition decides, every branch counts, so a figure made of these is an upper bound
    there. A loop of unknown length counts as one turn.
    """

    times: dict[str, int]
    fused: set[str]  # those whose intermediate values never reach the large memory
    unknown_loops: list[str]


def runs(module: Module) -> Runs:
    """How often every computation runs, loops multiplied out."""
    found = Runs({}, set(), [])

    def visit(name: str, times: int, is_fused: bool) -> None:
        computation = module.computations[name]
        found.times[name] = found.times.get(name, 0) + times
        if is_fused:
            found.fused.add(name)
        for each in computation.instructions.values():
            if each.opcode == "while":
                turns = trip_count(module, computation, each)
                if turns is None and each.name not in found.unknown_loops:
                    found.unknown_loops.append(each.name)
                turns = 1 if turns is None else turns
                visit(each.attribute("body"), times * turns, is_fused)
                visit(each.attribute("condition"), times * (turns + 1), is_fused)
            for callee in _callees(each):
                visit(callee, times, is_fused or each.opcode == "fusion")

    visit(module.entry, 1, False)
    return found


def _callees(instruction: Instruction) -> list[str]:
    """The functions that an instruction calls once, loops aside."""
    opcode = instruction.opcode
    if opcode in ("fusion", "call", "call-start", "async-start"):
        return [name for key in ("calls", "to_apply") if (name := instruction.attribute(key))]
    if opcode == "conditional":
        branches = re.search(r"branch_computations=\{([^}]*)\}", instruction.attributes)
        if branches:
            return OPERAND.findall(branches[1])
        return [instruction.attribute(f"{each}_computation") for each in ("true", "false")]
    return []


def trip_count(module: Module, where: Computation, loop: Instruction) -> int | None:
    """How often the body of a loop runs: said by the compiler, or read off a counter.

    None where it is neither said nor a counter that runs from one constant to another.
    """
    said = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', loop.attributes)
    if said:
        return int(said[1])
    body = module.computations[loop.attribute("body")]
    condition = module.computations[loop.attribute("condition")]
    initial = where.source(loop.operands[0])
    compared = _compared(module, condition)
    if compared is None or initial.opcode != "tuple" or body.root.opcode != "tuple":
        return None
    (counter, limit), direction = compared

    def constant(element: Instruction) -> int | None:
        """A value that the loop does not change, as the condition sees it."""
        if element.opcode == "get-tuple-element":
            place = int(element.attribute("index"))
            kept = body.source(body.root.operands[place])
            if kept.opcode != "get-tuple-element" or int(kept.attribute("index")) != place:
                return None
            element = where.source(initial.operands[place])
        return _integer(element)

    if counter.opcode != "get-tuple-element":
        return None
    place = int(counter.attribute("index"))
    first, last = _integer(where.source(initial.operands[place])), constant(limit)
    step = _step(body, place)
    if first is None or last is None or not step or direction not in ("LT", "LE"):
        return None
    return max(0, math.ceil((last - first + (direction == "LE")) / step))


def _compared(
    module: Module, condition: Computation
) -> tuple[tuple[Instruction, Instruction], str] | None:
    """The two values that a loop's condition compares, and how ('LT' or 'LE')."""
    compare, root = condition.source(condition.root.name), condition.root
    names = list(compare.operands)
    if root.opcode == "fusion":
        inner = module.computations[root.attribute("calls")]
        compare = inner.source(inner.root.name)
        if compare.opcode != "compare":
            return None
        sources = [inner.source(name) for name in compare.operands]
        if any(each.opcode != "parameter" for each in sources):
            return None
        names = [root.operands[int(each.arguments)] for each in sources]
    if compare.opcode != "compare":
        return None
    left, right = (condition.source(name) for name in names)
    direction = compare.attribute("direction")
    if direction in ("GT", "GE"):
        return (right, left), {"GT": "LT", "GE": "LE"}[direction]
    return (left, right), direction


def _integer(instruction: Instruction) -> int | None:
    is_number = instruction.opcode == "constant" and instruction.arguments.lstrip("-").isdigit()
    return int(instruction.arguments) if is_number else None


def _step(body: Computation, place: int) -> int | None:
    """What a loop adds to an element of its state; None if that is not a constant."""
    added = body.source(body.root.operands[place])
    if added.opcode != "add":
        return None
    sources = [body.source(name) for name in added.operands]
    steps = [number for each in sources if (number := _integer(each)) is not None]
    counters = [
        each
        for each in sources
        if each.opcode == "get-tuple-element" and int(each.attribute("index")) == place
    ]
    return steps[0] if len(steps) == len(counters) == 1 else None
