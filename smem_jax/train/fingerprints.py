"""Fingerprints of arrays, to tell whether what was read is what was written, bit for bit."""

from collections import defaultdict
from collections.abc import Hashable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

# Odd constants: those of the finaliser of MurmurHash3, and the golden ratio for positions.
_MULTIPLIERS = (np.uint32(0x85EBCA6B), np.uint32(0xC2B2AE35))
_GOLDEN = np.uint32(0x9E3779B9)
_SECOND = np.uint32(0x243F6A88)  # sets the second sum apart from the first


def fingerprints(arrays: Mapping[str, jax.Array]) -> dict[str, str]:
    """A fingerprint of 64 bits, in hexadecimal, of each array.

    It depends on the bits of every element and on where it stands, and on nothing else: not on the
    sharding, the mesh or the number of processes. One changed element, be it by one bit, always
    changes it; any other change does but for a chance of about 2**-64. Dtype and shape are not part
    of it.

    It is computed where the arrays are, in one pass that reads each once and stores no copy.
    In a job of several processes all have to call it.

    Raises TypeError for arrays of random keys, whose `jax.random.key_data` is right.

    Example:
      >>> import jax.numpy as jnp
      >>> found = fingerprints({"a": jnp.arange(3), "b": jnp.array([0, 2, 1])})
      >>> len(found["a"]), found["a"] == found["b"]
      (16, False)
    """
    groups: dict[Hashable, dict[str, jax.Array]] = defaultdict(dict)
    for name, array in arrays.items():
        if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
            raise TypeError(f"{name} is an array of random keys; its jax.random.key_data is right")
        groups[_placement(array)][name] = array
    # All are asked for before the first is fetched.
    pending = [(list(group), _sums(list(group.values()))) for group in groups.values()]
    found: dict[str, str] = {}
    for names, sums in pending:
        rows = np.asarray(sums.addressable_data(0)).tolist()
        found.update((name, f"{a:08x}{b:08x}") for name, (a, b) in zip(names, rows, strict=True))
    return {name: found[name] for name in arrays}


def _placement(array: jax.Array) -> Hashable:
    """Equal for arrays that one program can take."""
    sharding = array.sharding
    if isinstance(sharding, jax.NamedSharding):
        return sharding.mesh
    return frozenset(sharding.device_set)


def _sums(arrays: list[jax.Array]) -> jax.Array:
    sharding = arrays[0].sharding
    if isinstance(sharding, jax.NamedSharding):
        # Every process then holds the result.
        everywhere = jax.NamedSharding(sharding.mesh, jax.P())
        return _sums_jit(arrays, everywhere)
    return _sums_jit(arrays, None)


def _sums_traced(arrays: list[jax.Array], everywhere: jax.NamedSharding | None) -> jax.Array:
    sums = jnp.stack([_sum(array) for array in arrays])  # [num_arrays, 2]
    return sums if everywhere is None else jax.lax.with_sharding_constraint(sums, everywhere)


_sums_jit = jax.jit(_sums_traced, static_argnums=1)


def _sum(array: jax.Array) -> jax.Array:
    """uint32 [2]: sums of mixed elements, which wrap, so that their order does not matter."""
    position = jnp.zeros(array.shape, jnp.uint32)
    for axis in range(array.ndim):
        index = jax.lax.broadcasted_iota(jnp.uint32, array.shape, axis)
        position = _mix(position + index * _GOLDEN + np.uint32(axis + 1))
    zero = jnp.zeros((), jnp.uint32)
    first, second = jnp.zeros_like(position), jnp.zeros_like(position)
    for number, word in enumerate(_words(array)):
        # One to one for a given position, so a changed word changes the sum.
        mixed = _mix(word ^ (position + np.uint32(number)))
        first += mixed
        second += _mix(mixed ^ _SECOND)
    # One reduction of both, which the compiler fuses with all of the above: no copy is stored.
    sums = jax.lax.reduce((first, second), (zero, zero), _add, range(array.ndim))
    return jnp.stack(sums)


def _add(a: tuple[jax.Array, ...], b: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    return tuple(x + y for x, y in zip(a, b, strict=True))


def _words(array: jax.Array) -> list[jax.Array]:
    """The bits of each element as words, uint32 of the shape of the array."""
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        return _words(array.real) + _words(array.imag)
    if array.dtype == jnp.bool_:
        return [array.astype(jnp.uint32)]
    bits = jax.dtypes.itemsize_bits(array.dtype)
    unsigned = jax.lax.bitcast_convert_type(array, jnp.dtype(f"uint{bits}"))
    if bits == 64:
        return [unsigned.astype(jnp.uint32), (unsigned >> 32).astype(jnp.uint32)]
    return [unsigned.astype(jnp.uint32)]


def _mix(x: jax.Array) -> jax.Array:
    """The finaliser of MurmurHash3, one to one on uint32."""
    x = (x ^ (x >> 16)) * _MULTIPLIERS[0]
    x = (x ^ (x >> 13)) * _MULTIPLIERS[1]
    return x ^ (x >> 16)
