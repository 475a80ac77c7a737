import types

import jax
import pytest

from smem_jax import sharding
from smem_jax.errors import InputError


def test_one_axis_takes_the_devices_that_are_left():
    mesh = sharding.make_mesh({"data": -1}, jax.devices()[:1])
    assert dict(mesh.shape) == {"data": 1, "fsdp": 1, "tensor": 1, "memory": 1}


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"data": 2}, "data=2, fsdp=1, .*: the product of the sizes must be the 1 devices"),
        ({"data": -1, "fsdp": -1}, "-1 for one at most"),
        ({"memory": 0}, "memory=0: sizes of at least 1"),
        ({"data": -1, "memory": 3}, "must be the 1 devices"),
    ],
)
def test_meshes_that_cannot_be_are_refused(sizes, message):
    with pytest.raises(InputError, match=message):
        sharding.make_mesh(sizes, jax.devices()[:1])


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"slot": ("memory",)}, r"mesh.rules.slot: one of batch, .* is right"),
        ({"slots": ("model",)}, r"mesh.rules.slots=\('model',\): different ones of data, "),
        ({"slots": ("fsdp", "fsdp")}, "different ones of"),
        ({"value": ("memory", "tensor")}, r"axes of mesh.rules.batch=.* come last"),
        ({"slots": ("memory",)}, "split one table; different axes are right"),
    ],
)
def test_rules_that_make_no_sense_are_refused(rules, message):
    with pytest.raises(InputError, match=message):
        sharding.check_rules(rules)


def test_a_shape_that_the_mesh_does_not_divide_is_named():
    mesh = types.SimpleNamespace(shape={"fsdp": 4, "memory": 2})
    sharding.check_divides(mesh, jax.P(None, ("fsdp", "memory")), (3, 16), "kernel")
    with pytest.raises(InputError, match=r"kernel of shape \(3, 12\): axis 1 .* the 8 devices"):
        sharding.check_divides(mesh, jax.P(None, ("fsdp", "memory")), (3, 12), "kernel")


def test_without_a_mesh_nothing_is_laid_out():
    array = jax.numpy.ones(3)
    assert sharding.table_layout() is None
    assert sharding.constrain(array, "batch") is array
