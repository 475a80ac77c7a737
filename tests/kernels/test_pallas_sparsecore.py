"""The SparseCore kernels in interpret mode, as far as that goes.

It has no gather by a list of rows, no `parallel_loop` and no bitcast of the SparseCore's; those are
put in here, in the plainest way. It also takes every subcore for the first one, so there is but one
here. That the kernels compile as they are is tested in `tests/tpu`.
"""

import functools

import jax
import jax.numpy as jnp
import lookup_cases
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu
from jax.sharding import AbstractDevice, AbstractMesh, AxisType

from smem_jax.kernels.lookup import pallas_sparsecore

TOLERANCE = {"rtol": 1e-5, "atol": 1e-4}


class CopiesOfRows:
    """One copy for each row, in place of a gather."""

    def __init__(self, table, rows, buffer, arrival):
        self.copies = [
            pltpu.make_async_copy(table.at[rows[place]], buffer.at[place], arrival)
            for place in range(rows.shape[0])
        ]

    def start(self):
        for copy in self.copies:
            copy.start()

    def wait(self):
        for copy in self.copies:
            copy.wait()


def loop(lower, upper, step, carry=()):
    """`plsc.parallel_loop`, in order."""

    def decorate(body):
        def one(number, carry):
            carry = body(lower + number * step, *([carry] if carry else []))
            return carry or ()

        return jax.lax.fori_loop(0, (upper - lower) // step, one, carry)

    return decorate


@pytest.fixture
def interpreted(monkeypatch):
    plsc = pallas_sparsecore.plsc
    one_subcore = functools.partial(plsc.VectorSubcoreMesh, num_cores=1, num_subcores=1)
    monkeypatch.setattr(pallas_sparsecore, "_gather", CopiesOfRows)
    monkeypatch.setattr(pallas_sparsecore, "MAX_WINDOW", 16)
    monkeypatch.setattr(plsc, "parallel_loop", loop)
    monkeypatch.setattr(plsc, "bitcast", jax.lax.bitcast_convert_type)
    monkeypatch.setattr(plsc, "VectorSubcoreMesh", one_subcore)


def chip(kind):
    """Within it, kernels take the device for this one."""
    device = AbstractDevice(device_kind=kind, num_cores=1, platform="tpu")
    mesh = AbstractMesh((1,), ("x",), axis_types=(AxisType.Auto,), abstract_device=device)
    return jax.sharding.use_abstract_mesh(mesh)


# Several windows of a token, several blocks of tokens, each with 16 lanes and with 8; of no size a
# multiple of what it is padded to.
@pytest.mark.parametrize(
    "sizes, dtype, kind",
    [
        ((40, 128, 3, 17), "float32", "TPU7x"),
        ((40, 128, 3, 17), "bfloat16", "TPU v6e"),
        ((64, 128, 9, 5), "bfloat16", "TPU7x"),
        ((64, 128, 9, 5), "float32", "TPU v6e"),
    ],
)
def test_both_operations_agree_with_numpy(sizes, dtype, kind, interpreted):
    values, indices, weights, cotangent = lookup_cases.arrays(1, sizes, dtype)
    interpret = pltpu.InterpretParams()
    with chip(kind):
        assert pallas_sparsecore.unsupported(values.shape, values.dtype, *indices.shape) is None
        total = pallas_sparsecore.weighted_sum(values, indices, weights, interpret)
        dots = pallas_sparsecore.weights_gradient(values, indices, cotangent, interpret)
    expected = lookup_cases.weighted_sum(values, indices, weights)
    np.testing.assert_allclose(total, expected, **TOLERANCE)
    expected = lookup_cases.weights_gradient(values, indices, cotangent)
    np.testing.assert_allclose(dots, expected, **TOLERANCE)


@pytest.mark.parametrize(
    "shape, dtype, tokens, reads, reason",
    [
        ((8, 128), "float16", 4, 4, "float16"),
        ((8, 200), "float32", 4, 4, "value_dim=200"),
        ((8, 4096), "float32", 4, 64, "value_dim=4096 with reads=64"),
        ((9, 128), "bfloat16", 4, 4, "num_slots=9"),
        ((8, 128), "float32", 0, 4, "nothing"),
        ((9, 128), "float32", 1, 1, None),
        ((2**24, 256), "float32", 32768, 128, None),
        ((2**22, 2048), "bfloat16", 32768, 128, None),
        ((2**24 + 8, 256), "float32", 4, 4, "num_slots=16777224 with value_dim=256"),
    ],
)
def test_what_is_not_supported_is_said(shape, dtype, tokens, reads, reason):
    with chip("TPU v6e"):
        said = pallas_sparsecore.unsupported(shape, jnp.dtype(dtype), tokens, reads)
    assert said is None if reason is None else reason in said


@pytest.mark.parametrize("kind", ["TPU v5e", "TPU v4"])
def test_a_chip_without_sparsecores_is_not_supported(kind):
    with chip(kind):
        said = pallas_sparsecore.unsupported((8, 128), jnp.dtype("float32"), 4, 4)
    assert said == "the device has no SparseCore"


def test_no_tpu_is_not_supported():
    said = pallas_sparsecore.unsupported((8, 128), jnp.dtype("float32"), 4, 4)
    assert said == "the device has no SparseCore"
