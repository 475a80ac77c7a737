"""The memory layer against outputs and gradients of the published code, and its options.

The two `published_memory_*.npz` each hold one forward and backward pass of `HashingMemory` of
facebookresearch/memory (commit 7f85280) in float32, on random inputs and weights.
"""

import ast
import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from smem_jax.errors import InputError
from smem_jax.memory.config import MemoryConfig
from smem_jax.memory.layer import MemoryLayer
from smem_jax.memory.tables import ValueTable

_FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures"
_SMALL = MemoryConfig(
    input_dim=6, output_dim=6, num_slots=25, num_heads=2, top_k=3, key_dim=4, gate=False
)


# Compiled at once: a program for each operation would take longer to compile.
_apply = nnx.jit(lambda layer, x: layer(x))


def _published(variant):
    arrays = np.load(_FIXTURES / f"published_memory_{variant}.npz")
    published = ast.literal_eval(str(arrays["config"]))
    config = MemoryConfig(
        input_dim=published["input_dim"],
        output_dim=published["output_dim"],
        num_slots=published["n_keys"] ** 2,
        num_heads=published["heads"],
        top_k=published["knn"],
        key_dim=published["k_dim"],
        value_dim=None if published["v_dim"] == -1 else published["v_dim"],
        gate=published["swilu"],
    )
    return arrays, config


def _layer(seed=0, **options):
    return MemoryLayer(dataclasses.replace(_SMALL, **options), rngs=nnx.Rngs(seed))


def _hidden(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape or (7, 6))


@pytest.mark.parametrize("variant", ["plain", "plus"])
def test_outputs_are_those_of_the_published_code(variant):
    arrays, config = _published(variant)
    layer = MemoryLayer.from_published(arrays, config)
    np.testing.assert_allclose(_apply(layer, jnp.asarray(arrays["x"])), arrays["y"], atol=1e-5)
    scores, slots = layer.search(jnp.asarray(arrays["x"]).reshape(-1, config.input_dim))
    np.testing.assert_array_equal(slots, arrays["indices"])
    np.testing.assert_allclose(scores, arrays["scores"], atol=1e-5)


@pytest.mark.parametrize("variant", ["plain", "plus"])
def test_gradients_are_those_of_the_published_code(variant):
    arrays, config = _published(variant)
    graphdef, state = nnx.split(MemoryLayer.from_published(arrays, config))

    @jax.jit
    def loss(state, x):
        return jnp.sum(nnx.merge(graphdef, state)(x) * arrays["cotangent"])

    grads, x_grad = jax.grad(loss, argnums=(0, 1))(state, jnp.asarray(arrays["x"]))
    np.testing.assert_allclose(x_grad, arrays["x_grad"], atol=1e-5)
    linears = {
        "query_proj.query_mlps.0": grads["query"],
        "value_proj": grads["output"],
        "swilu_projection": grads["gate"] if config.gate else None,
    }
    checked = 0
    for name in (key.removeprefix("grad/") for key in arrays if key.startswith("grad/")):
        owner, part = name.rsplit(".", 1) if "." in name else (name, "")
        if name == "keys":
            grad = np.asarray(grads["sub_keys"][...]).reshape(arrays[f"grad/{name}"].shape)
        elif owner == "values":
            grad = grads["table"]["values"][...]
        else:
            grad = linears[owner]["kernel" if part == "weight" else "bias"][...].T
        np.testing.assert_allclose(grad, arrays[f"grad/{name}"], atol=1e-5, err_msg=name)
        checked += 1
    assert checked == len(jax.tree.leaves(state)) == (8 if config.gate else 6)


@pytest.mark.parametrize("variant", ["plain", "plus"])
def test_bfloat16_storage_stays_near_the_published_outputs(variant):
    arrays, config = _published(variant)
    config = dataclasses.replace(config, values_dtype="bfloat16")
    layer = MemoryLayer.from_published(arrays, config)
    y = _apply(layer, jnp.asarray(arrays["x"]))
    assert layer.table.values.dtype == jnp.bfloat16
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, arrays["y"], atol=1e-2)


def test_published_arrays_are_found_without_their_prefix():
    arrays, config = _published("plus")
    bare = {name.removeprefix("param/"): arrays[name] for name in arrays if "param/" in name}
    y = _apply(MemoryLayer.from_published(bare, config), jnp.asarray(arrays["x"]))
    np.testing.assert_allclose(y, arrays["y"], atol=1e-5)


def test_published_arrays_that_are_missing_or_of_another_size_are_named():
    arrays, config = _published("plain")
    with pytest.raises(InputError, match=r"'swilu_projection\.weight' is missing"):
        MemoryLayer.from_published(arrays, dataclasses.replace(config, value_dim=32, gate=True))
    with pytest.raises(InputError, match=r"'values\.weight' has shape \(144, 32\).*\(100, 32\)"):
        MemoryLayer.from_published(arrays, dataclasses.replace(config, num_slots=100))


@pytest.mark.parametrize(
    ("option", "name"), [("gate", "swilu_projection"), ("output_projection", "value_proj")]
)
def test_published_weights_that_the_configuration_would_drop_are_refused(option, name):
    arrays, config = _published("plus")
    with pytest.raises(InputError, match=f"'{name}' has no place"):
        MemoryLayer.from_published(arrays, dataclasses.replace(config, **{option: False}))


@pytest.mark.parametrize("gate", [False, True])
@pytest.mark.parametrize("output_projection", [False, True])
def test_output_is_the_formula_on_what_is_read(gate, output_projection):
    layer = _layer(gate=gate, output_projection=output_projection)
    x = _hidden(2, 3, 6)
    reads = layer.read(x)
    assert reads.indices.shape == reads.weights.shape == (2, 3, 6)
    rows = np.asarray(layer.table.values[...])[np.asarray(reads.indices)]
    expected = np.einsum("bsk,bskd->bsd", reads.weights, rows)
    if gate:
        gates = x @ layer.gate.kernel[...] + layer.gate.bias[...]
        expected = expected * np.asarray(gates * jax.nn.sigmoid(gates))
    if output_projection:
        expected = expected @ layer.output.kernel[...] + layer.output.bias[...]
    np.testing.assert_allclose(_apply(layer, x), expected, rtol=1e-5, atol=1e-6)
    assert (layer.gate is None) != gate
    assert (layer.output is None) != output_projection


def test_weights_of_a_head_sum_to_one_and_follow_the_scale_of_scores():
    x = _hidden()
    for scale in (1.0, 10.0):
        layer = _layer(score_scale=scale)
        scores, slots = layer.search(x)
        reads = layer.read(x)
        plain_scores, plain_slots = _layer().search(x)
        np.testing.assert_array_equal(slots, plain_slots)
        np.testing.assert_allclose(scores, scale * plain_scores, rtol=1e-6)
        weights = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(reads.weights, weights.reshape(7, -1), rtol=1e-5)


def test_normalisation_of_queries_and_keys():
    x = _hidden()
    layer = _layer(normalize_queries=True, normalize_keys=True)
    halves = np.asarray(layer.queries(x)).reshape(7, 2, 2, 2)
    np.testing.assert_allclose(np.linalg.norm(halves, axis=-1), 1, rtol=1e-5)
    scores, slots = layer.search(x)
    assert scores.max() <= 2 + 1e-5

    layer.sub_keys[...] = 7 * layer.sub_keys[...]
    layer.query.kernel[...] = 3 * layer.query.kernel[...]  # its bias is zero at first
    scaled_scores, scaled_slots = layer.search(x)
    np.testing.assert_array_equal(scaled_slots, slots)
    np.testing.assert_allclose(scaled_scores, scores, rtol=1e-4, atol=1e-6)

    plain = _layer()
    np.testing.assert_allclose(
        np.asarray(plain.queries(x)).reshape(7, 8), plain.query(x), rtol=1e-6
    )


def test_a_zero_query_has_finite_gradients():
    layer = _layer(normalize_queries=True, normalize_keys=True)
    grads = nnx.jit(nnx.grad(lambda layer: layer(jnp.zeros((2, 6))).sum()))(layer)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    np.testing.assert_array_equal(layer.queries(jnp.zeros((2, 6))), 0)


def test_layers_that_share_a_table_have_one_copy_and_add_their_gradients():
    table = ValueTable(_SMALL, rngs=nnx.Rngs(9))
    layers = nnx.List([MemoryLayer(_SMALL, table=table, rngs=nnx.Rngs(seed)) for seed in (1, 2)])
    x = _hidden()

    def values_grad(which):
        def loss(layers):
            return sum(layers[number](x).sum() for number in which)

        return nnx.jit(nnx.grad(loss))(layers)[0]["table"]["values"][...]

    tables = [leaf for leaf in jax.tree.leaves(nnx.state(layers)) if leaf.shape == (25, 6)]
    assert len(tables) == 1
    alone = values_grad([0]) + values_grad([1])
    np.testing.assert_allclose(values_grad([0, 1]), alone, rtol=1e-5, atol=1e-6)
    layers[0].table.values[...] = jnp.zeros((25, 6))
    np.testing.assert_allclose(
        _apply(layers[1], x), np.broadcast_to(layers[1].output.bias[...], (7, 6))
    )


def test_a_shared_table_of_another_shape_is_refused():
    with pytest.raises(InputError, match=r"shape \(25, 6\); \(16, 6\) is right"):
        MemoryLayer(
            dataclasses.replace(_SMALL, num_slots=16),
            table=ValueTable(_SMALL, rngs=nnx.Rngs(0)),
            rngs=nnx.Rngs(0),
        )


def test_initial_weights_have_the_published_spread():
    config = MemoryConfig(input_dim=64, output_dim=64, num_slots=4096, key_dim=32)
    layer = MemoryLayer(config, rngs=nnx.Rngs(0))
    assert layer.table.values[...].std() == pytest.approx(64**-0.5, rel=0.02)
    assert layer.gate.kernel[...].std() == pytest.approx(64**-0.5, rel=0.05)
    assert layer.output.kernel[...].std() == pytest.approx(64**-0.5, rel=0.05)
    sub_keys = np.abs(layer.sub_keys[...])
    assert 0.95 * 32**-0.5 < sub_keys.max() <= 32**-0.5
    assert np.abs(layer.query.kernel[...]).max() <= (6 / (64 + 4 * 32)) ** 0.5


def test_value_axes_are_named_for_sharding_rules():
    assert _layer().table.values.out_sharding == ("slots", "value")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_slots": 24}, "num_slots=24 must be a square number, such as 25"),
        ({"num_slots": 0}, "num_slots=0"),
        ({"num_slots": -4}, "num_slots=-4"),
        ({"top_k": 6}, "top_k=6 must be from 1 to 5"),
        ({"top_k": 0}, "top_k=0"),
        ({"key_dim": 5}, "key_dim=5 must be even"),
        ({"num_heads": 0}, "num_heads=0"),
        ({"value_dim": 3, "output_projection": False}, "value_dim=3 must be output_dim=6"),
        ({"values_dtype": "float16"}, "values_dtype='float16' must be one of"),
    ],
)
def test_bad_configurations_are_named(options, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(_SMALL, **options)
