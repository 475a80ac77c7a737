"""An estimate of the memory that a step needs beyond its arguments, from its jaxpr alone.

For machines whose compiler is not here. The operations are taken in their order, and what a
compiler would fuse (elementwise operations, and what feeds a sum) takes no memory of its own but
keeps alive what it is made of. What is returned lies where the donated arguments lay.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

# Separated by spaces, for they would fill two pages one by one.
_ELEMENTWISE = """
abs add add_any and ceil clamp convert_element_type copy cos div eq erf erf_inv exp exp2 expm1 floor
ge gt integer_pow is_finite le log log1p logistic lt max min mul ne neg not or pow real rem round
reduce_precision rsqrt select_n shift_left shift_right_arithmetic shift_right_logical sign sin sqrt
square sub tan tanh xor
"""
_OTHER_PLACES = """
broadcast_in_dim concatenate expand_dims iota optimization_barrier pad pvary reshape rev slice
sharding_constraint squeeze stop_gradient transpose
"""
_SUMS = "reduce_sum reduce_max reduce_min reduce_and reduce_or reduce_prod argmax argmin"
_FUSED = frozenset((_ELEMENTWISE + _OTHER_PLACES).split())
_REDUCTIONS = frozenset(_SUMS.split())

Size = Callable[[Any], int]


class _Operation(NamedTuple):
    """An operation on values, which are numbered."""

    name: str
    inputs: list[int]
    outputs: list[int]
    inner: int  # bytes that it needs while it runs, such as those of a loop's body


class _Trace(NamedTuple):
    operations: list[_Operation]
    sizes: list[int]  # of every value


def peak_bytes(closed: ClosedJaxpr, size: Size) -> int:
    """The most bytes that are alive at once, arguments and results left out.

    Args:
      closed: of the step.
      size: bytes on a device of an array with this abstract value.
    """
    trace = _Trace([], [])
    arguments = [_new(trace, 0) for _ in closed.jaxpr.invars]
    results = _flatten(closed.jaxpr, arguments, size, trace)
    return _peak(trace, {value for value in results if value is not None})


def _peak(trace: _Trace, results: set[int]) -> int:
    needed = {  # values of fused operations that have to be there as a whole
        value
        for each in trace.operations
        if each.name not in _FUSED and each.name not in _REDUCTIONS
        for value in each.inputs
    }
    last: dict[int, int] = {}  # where a value is used for the last time
    for place in reversed(range(len(trace.operations))):
        each, used = trace.operations[place], place
        if each.name in _FUSED and not needed.intersection(each.outputs):
            used = max((last.get(value, place) for value in each.outputs), default=place)
        for value in each.inputs:
            last[value] = max(last.get(value, used), used)
    ends: dict[int, int] = {}
    alive = peak = 0
    for place, each in enumerate(trace.operations):
        for value in each.outputs:
            is_there = each.name not in _FUSED or value in needed
            if is_there and value not in results and value in last:
                alive += trace.sizes[value]
                ends[last[value]] = ends.get(last[value], 0) + trace.sizes[value]
        peak = max(peak, alive + each.inner)
        alive -= ends.pop(place, 0)
    return peak


def _new(trace: _Trace, size: int) -> int:
    trace.sizes.append(size)
    return len(trace.sizes) - 1


def _flatten(
    jaxpr: Jaxpr, arguments: Sequence[int | None], size: Size, trace: _Trace
) -> list[int | None]:
    """Appends the operations of a jaxpr, those of functions that it calls in their place.

    Values of the arguments come in, those of the results go out; None for constants.
    """
    values: dict[Any, int | None] = dict(zip(jaxpr.invars, arguments, strict=True))

    def value(var: Any) -> int | None:
        return None if isinstance(var, Literal) else values.get(var)

    for equation in jaxpr.eqns:
        inputs, name = [value(var) for var in equation.invars], equation.primitive.name
        called = None if name in ("scan", "while", "cond") else _called(equation.params)
        if called is not None and len(called.invars) == len(inputs):
            of_device = _nbytes if name == "shard_map" else size
            found = _flatten(called, inputs, of_device, trace)
            values.update(zip(equation.outvars, found, strict=True))
            continue
        inner = max((peak_bytes(body, size) for body in _bodies(equation.params)), default=0)
        outputs = [_new(trace, size(var.aval)) for var in equation.outvars]
        values.update(zip(equation.outvars, outputs, strict=True))
        known = [each for each in inputs if each is not None]
        trace.operations.append(_Operation(name, known, outputs, inner))
    return [value(var) for var in jaxpr.outvars]


def _called(params: dict[str, Any]) -> Jaxpr | None:
    """The function that an equation calls once, such as that of a `jit`."""
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        found = params.get(name)
        if isinstance(found, ClosedJaxpr):
            return found.jaxpr
        if isinstance(found, Jaxpr):
            return found
    return None


def _bodies(params: dict[str, Any]) -> list[ClosedJaxpr]:
    """The bodies of a loop, or the branches of a condition."""
    found = jax.tree.leaves(list(params.values()), is_leaf=lambda x: isinstance(x, ClosedJaxpr))
    return [each for each in found if isinstance(each, ClosedJaxpr)]


def _nbytes(aval: Any) -> int:
    return math.prod(aval.shape) * aval.dtype.itemsize if hasattr(aval, "shape") else 0
