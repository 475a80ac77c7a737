"""Low-rank adapters: nothing changes at first, only they are trained, and merging keeps them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_llama
from flax import nnx

from smem_jax.errors import InputError
from smem_jax.memory.config import MemoryConfig
from smem_jax.models.lora import (
    TARGETS,
    LoRALinear,
    LoRAParam,
    add_lora,
    has_lora,
    lora_state,
    merge_lora,
    merged,
)
from smem_jax.models.pretrained import load
from smem_jax.models.retrofit import memory_layer, retrofit
from smem_jax.models.transformer import Transformer

_TOKENS = tiny_llama.tokens()[:, :24]
_MEMORY = MemoryConfig(
    32, 32, num_slots=64, num_heads=2, top_k=4, key_dim=8, gate=False, output_projection=False
)

_run = nnx.jit(lambda model, tokens: model(tokens))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return load(str(tiny_llama.write(tmp_path_factory.mktemp("llama"), "grouped_untied")))


@pytest.fixture
def model(base):
    return Transformer.from_tensors(base.config, base.tensors)


def _fill(model, seed=0):
    """Draws every adapter's parameters, so that `b` is not zero; returns them."""
    random = np.random.default_rng(seed)
    drawn = jax.tree.map(
        lambda a: jnp.asarray(random.normal(0, 0.05, a.shape), a.dtype), lora_state(model)
    )
    nnx.update(model, drawn)
    return drawn


def test_at_first_the_logits_are_bit_for_bit_those_of_the_base(model):
    before = np.asarray(_run(model, _TOKENS))
    add_lora(model, 4, 8.0, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(
        np.asarray(_run(model, _TOKENS)).view(np.uint32), before.view(np.uint32)
    )


def test_a_layer_computes_its_published_equation(model):
    base = model.blocks[0].attention.query
    kernel = np.asarray(base.kernel[...], np.float64)
    layer = LoRALinear(base, 3, 6.0, rngs=nnx.Rngs(1))
    assert isinstance(layer.a, LoRAParam) and layer.a.shape == (32, 3)
    assert isinstance(layer.b, LoRAParam) and layer.b.shape == (3, 32)
    assert layer.a[...].dtype == layer.b[...].dtype == jnp.float32
    bound = 32**-0.5
    assert 0.8 * bound < np.abs(layer.a[...]).max() <= bound
    assert not np.any(layer.b[...])
    random = np.random.default_rng(0)
    layer.b[...] = jnp.asarray(random.normal(size=(3, 32)), jnp.float32)
    x = random.normal(size=(2, 5, 32)).astype(np.float32)
    a, b = (np.asarray(p[...], np.float64) for p in (layer.a, layer.b))
    np.testing.assert_allclose(layer(x), x @ kernel + 2.0 * (x @ a @ b), rtol=1e-4, atol=1e-4)


def test_a_merged_copy_says_the_same_and_leaves_the_model_as_it_is(model):
    assert merged(model) is model
    add_lora(model, 4, 8.0, rngs=nnx.Rngs(0))
    _fill(model)
    before = [np.asarray(array) for array in jax.tree.leaves(nnx.state(model))]
    expected = np.asarray(_run(model, _TOKENS))
    copy = merged(model)
    assert has_lora(model) and not has_lora(copy)
    np.testing.assert_allclose(_run(copy, _TOKENS), expected, atol=1e-5 * np.abs(expected).max())
    for array, old in zip(jax.tree.leaves(nnx.state(model)), before, strict=True):
        np.testing.assert_array_equal(array, old)


def test_merged_logits_are_the_unmerged_and_the_wrappers_are_gone(base, model):
    plain = np.asarray(_run(model, _TOKENS))
    add_lora(model, 4, 8.0, rngs=nnx.Rngs(0))
    _fill(model)
    unmerged = np.asarray(_run(model, _TOKENS))
    assert np.abs(unmerged - plain).max() > 0.01
    merge_lora(model)
    np.testing.assert_allclose(_run(model, _TOKENS), unmerged, atol=1e-5 * np.abs(unmerged).max())
    assert not has_lora(model)
    fresh = Transformer.from_tensors(base.config, base.tensors)
    assert nnx.graphdef(model) == nnx.graphdef(fresh)


def test_every_linear_layer_of_attention_and_feed_forward_is_adapted_and_nothing_else(model):
    retrofit(model, [1], _MEMORY)
    add_lora(model, 2, 4.0, rngs=nnx.Rngs(0))
    paths = [path for path, _ in nnx.to_flat_state(lora_state(model))]
    assert sorted(paths) == sorted(
        ("blocks", block, holder, name, matrix)
        for block in range(2)
        for holder, names in (("attention", TARGETS[:4]), ("ffn", TARGETS[4:]))
        for name in names
        for matrix in "ab"
    )
    assert isinstance(memory_layer(model, 1).query, nnx.Linear)


def test_targets_choose_and_a_replaced_feed_forward_network_is_left_out(model):
    retrofit(model, [0], _MEMORY, placement="instead")
    add_lora(model, 2, 4.0, rngs=nnx.Rngs(0), targets=("query", "down"))
    paths = {path[1:4] for path, _ in nnx.to_flat_state(lora_state(model))}
    assert paths == {
        (0, "attention", "query"),
        (1, "attention", "query"),
        (1, "ffn", "down"),
    }
    merge_lora(model)
    assert not has_lora(model)


def test_different_layers_draw_different_matrices(model):
    add_lora(model, 2, 4.0, rngs=nnx.Rngs(0))
    first, second = (model.blocks[i].attention.query.a[...] for i in range(2))
    assert np.abs(first - second).max() > 0.01


def test_gradients_reach_the_adapters_only_and_a_step_lowers_the_loss(model):
    add_lora(model, 4, 8.0, rngs=nnx.Rngs(0))
    _fill(model)
    graphdef, lora, rest = nnx.split(model, LoRAParam, ...)

    @jax.jit
    @jax.value_and_grad
    def loss(lora):
        logits = nnx.merge(graphdef, lora, rest)(_TOKENS[:, :-1])
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), _TOKENS[:, 1:, None], -1)
        return -chosen.mean()

    value, grads = loss(lora)
    flat = nnx.to_flat_state(grads)
    assert len(flat) == 2 * len(TARGETS) * 2
    assert all(path[-1] in "ab" and np.abs(g[...]).max() > 0 for path, g in flat)
    stepped = jax.tree.map(lambda p, g: p - 1e-3 * g, lora, grads)
    assert loss(stepped)[0] < value


@pytest.mark.parametrize(
    ("rank", "alpha", "targets", "message"),
    [
        (0, 1.0, TARGETS, "rank=0 must be at least 1"),
        (2, 0.0, TARGETS, "alpha=0.0 must be above 0"),
        (2, float("nan"), TARGETS, "alpha=nan must be above 0"),
        (2, 1.0, ("query", "head"), "targets="),
        (2, 1.0, (), "targets="),
    ],
)
def test_arguments_that_make_no_sense_are_refused(model, rank, alpha, targets, message):
    with pytest.raises(InputError, match=message):
        add_lora(model, rank, alpha, rngs=nnx.Rngs(0), targets=targets)
    assert not has_lora(model)


def test_adding_twice_and_merging_without_are_refused(model):
    for function in (merge_lora, lora_state):
        with pytest.raises(InputError, match="no LoRA adapters"):
            function(model)
    add_lora(model, 2, 4.0, rngs=nnx.Rngs(0), targets=("up",))
    with pytest.raises(InputError, match="already"):
        add_lora(model, 2, 4.0, rngs=nnx.Rngs(0), targets=("down",))
