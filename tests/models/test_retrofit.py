"""Memory layers put into a model: nothing changes at first, and only what is meant to."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from smem_jax.errors import InputError
from smem_jax.memory.config import MemoryConfig
from smem_jax.models.config import ModelConfig
from smem_jax.models.retrofit import memory_blocks, memory_layer, retrofit
from smem_jax.models.transformer import Transformer, default_positions

_CONFIG = ModelConfig(50, 3, 16, 4, 2, 4, 24)
_MEMORY = MemoryConfig(
    16, 16, num_slots=64, num_heads=2, top_k=4, key_dim=8, gate=False, output_projection=False
)
_TOKENS = np.random.default_rng(0).integers(0, 50, (2, 12))

_run = nnx.jit(lambda model, tokens: model(tokens))


def _model():
    return Transformer(_CONFIG, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("blocks", [[0], [1], [0, 2]])
def test_beside_with_zero_values_the_logits_are_bit_for_bit_those_of_the_base(blocks):
    model = _model()
    before = np.asarray(_run(model, _TOKENS))
    retrofit(model, blocks, _MEMORY)
    assert memory_blocks(model) == blocks
    np.testing.assert_array_equal(
        np.asarray(_run(model, _TOKENS)).view(np.uint32), before.view(np.uint32)
    )


def test_values_change_the_logits_and_instead_drops_the_feed_forward_network():
    model = _model()
    before = np.asarray(_run(model, _TOKENS))
    retrofit(model, [1], _MEMORY, placement="instead")
    assert model.blocks[1].ffn is None
    without = np.asarray(_run(model, _TOKENS))
    assert np.abs(without - before).max() > 1e-3
    table = memory_layer(model, 1).table
    table.values[...] = jnp.ones_like(table.values[...])
    assert np.abs(np.asarray(_run(model, _TOKENS)) - without).max() > 1e-3


def test_layers_share_one_table_or_have_one_each():
    shared, apart = _model(), _model()
    retrofit(shared, [0, 2], _MEMORY, shared_values=True)
    retrofit(apart, [0, 2], _MEMORY)
    assert memory_layer(shared, 0).table is memory_layer(shared, 2).table
    assert memory_layer(apart, 0).table is not memory_layer(apart, 2).table


@pytest.mark.parametrize("blocks", [[3], [-1], [1, 1], []])
def test_blocks_that_do_not_exist_are_refused(blocks):
    with pytest.raises(InputError, match="must be different numbers from 0 to 2"):
        retrofit(_model(), blocks, _MEMORY)


def test_a_second_layer_in_a_block_is_refused():
    model = _model()
    retrofit(model, [1], _MEMORY)
    with pytest.raises(InputError, match="already"):
        retrofit(model, [1], _MEMORY)
    with pytest.raises(InputError, match="block 0 has no memory layer"):
        memory_layer(model, 0)


def test_decoding_token_by_token_gives_the_logits_of_the_whole():
    model = _model()
    retrofit(model, [1], _MEMORY)
    table = memory_layer(model, 1).table
    table.values[...] = jnp.ones_like(table.values[...])
    whole = _run(model, _TOKENS)
    decode = nnx.jit(lambda model, *inputs: model.decode(*inputs))
    caches = model.init_cache(2, 12)
    positions = default_positions(_TOKENS)
    x, caches = decode(model, _TOKENS[:, :9], positions[:, :9], caches)
    found = [model.logits(x)]
    for place in range(9, 12):
        here = slice(place, place + 1)
        x, caches = decode(model, _TOKENS[:, here], positions[:, here], caches)
        found.append(model.logits(x))
    np.testing.assert_allclose(jnp.concatenate(found, axis=1), whole, atol=1e-5)


def test_blocks_run_in_parts_as_at_once():
    model = _model()
    x = model.run_blocks(model.run_blocks(model.embed(_TOKENS), stop=2), start=2)
    np.testing.assert_allclose(model.logits(x), _run(model, _TOKENS), atol=1e-5)
