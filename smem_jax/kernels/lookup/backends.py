"""Which implementation runs which operation, chosen by the platform or by name.

A backend is a module with some of the operations of `base` and, unless it runs anything, a function
`unsupported(values_shape, dtype, tokens, reads)` that says in a phrase why it cannot run those for
values [num_slots, value_dim] of a dtype and indices [tokens, reads], and returns None where it can.
What a chosen backend cannot run, the next one of the platform does, and the reason is logged.
"""

import functools
import importlib
import logging
from collections.abc import Callable
from types import ModuleType
from typing import Any, Literal, NamedTuple, get_args

import jax

from smem_jax.errors import InputError

Implementation = Literal[
    "base",
    "xla",
    "pallas_triton",
    "pallas_mosaic_gpu",
    "pallas_mosaic_tpu",
    "pallas_sparsecore",
]

# Who runs the operations that a backend does not have; 'xla' has all of them.
_COMPLETED_BY: dict[str | None, tuple[Implementation, ...]] = {
    "pallas_mosaic_gpu": ("pallas_triton",),
    "pallas_sparsecore": ("pallas_mosaic_tpu",),
}

_logger = logging.getLogger(__name__)


class Operations(NamedTuple):
    """The three operations, as `base` defines them; hashable, so that a jitted caller can be."""

    weighted_sum: Callable[..., jax.Array]
    weights_gradient: Callable[..., jax.Array]
    rows_gradient: Callable[..., jax.Array]


def choose(
    implementation: Implementation | None, values: Any, tokens: int, reads: int
) -> Operations:
    """The operations for tables like `values` and [tokens, reads] indices.

    A name forces that backend for every operation that it has; None takes the first of the platform
    that can run them.

    Raises:
      InputError: for a name that does not exist, and for a backend forced to run what it cannot.
    """
    if implementation not in (None, *get_args(Implementation)):
        raise InputError(
            f"implementation={implementation!r}; one of {get_args(Implementation)} or None is right"
        )
    forced = () if implementation is None else (implementation,)
    names = forced or platform_order()
    able = []
    for name in (*names, *_COMPLETED_BY.get(implementation, ()), "xla"):
        module = load(name)
        reason = _unsupported(module, values, tokens, reads)
        if reason is None and name.startswith("pallas") and not forced and _is_partitioned():
            reason = "the compiler cannot partition it over devices; call it within jax.shard_map"
        if reason is None:
            able.append(module)
        elif name in forced:
            raise InputError(f"implementation={name!r} cannot be used here: {reason}")
        else:
            log_fallback(name, reason)
    return Operations(
        *(next(getattr(m, op) for m in able if hasattr(m, op)) for op in Operations._fields)
    )


def platform_order() -> tuple[Implementation, ...]:
    """Backends to try before 'xla' for the default device, the first choice first.

    Within `jax.set_mesh` it is that of the mesh, which may be of another platform (as when a
    program is compiled ahead of time).
    """
    of_mesh = getattr(jax.sharding.get_abstract_mesh(), "abstract_device", None)
    platform = of_mesh.platform if of_mesh else _default_device().platform
    if platform == "tpu":
        return ("pallas_mosaic_tpu",)
    if platform == "gpu" and compute_capability() >= 8.0:
        return ("pallas_triton",)
    return ()


def compute_capability() -> float:
    """Of this machine's first GPU, such as 9.0 for Hopper; 0 where there is none of NVIDIA's."""
    try:
        return float(jax.devices("gpu")[0].compute_capability)
    except (RuntimeError, AttributeError, ValueError):
        return 0.0


def load(name: Implementation) -> ModuleType:
    """The module of a backend, imported when first asked for: Pallas takes its time."""
    return importlib.import_module(f"smem_jax.kernels.lookup.{name}")


@functools.cache
def log_fallback(name: str, reason: str) -> None:
    """Says once for each reason why a backend of this platform is passed over."""
    _logger.warning("lookup: %s is passed over: %s", name, reason)


def _default_device() -> jax.Device:
    device = getattr(jax.config, "jax_default_device", None)
    if device is None:
        return jax.devices()[0]
    return jax.devices(device)[0] if isinstance(device, str) else device


def _is_partitioned() -> bool:
    """Whether a program traced now may be cut over several devices by the compiler.

    Within `jax.shard_map` each device has its part already. Without a mesh in sight, arrays may be
    sharded over all devices.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return jax.device_count() > 1
    manual = jax.sharding.AxisType.Manual
    return mesh.size > 1 and any(kind != manual for kind in mesh.axis_types)


def _unsupported(module: ModuleType, values: Any, tokens: int, reads: int) -> str | None:
    if not hasattr(module, "unsupported"):
        return None
    return module.unsupported(values.shape, values.dtype, tokens, reads)
