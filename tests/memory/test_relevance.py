"""The relevance gate against a plain count, and in a model: decoded, packed, trained."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from smem_jax.errors import InputError
from smem_jax.evaluate import shared_prefix
from smem_jax.memory.config import MemoryConfig
from smem_jax.memory.relevance import NO_GROUP, Relevance, RelevanceGate, co_reads
from smem_jax.models.config import ModelConfig
from smem_jax.models.retrofit import memory_layer, retrofit
from smem_jax.models.transformer import Transformer, default_positions

_co_reads = jax.jit(co_reads, static_argnums=1)
_CONFIG = ModelConfig(32, 3, 16, 4, 2, 4, 24)
_MEMORY = MemoryConfig(16, 16, num_slots=64, num_heads=2, top_k=4, key_dim=8)


def _counted(groups: np.ndarray, window: int, segments: np.ndarray) -> np.ndarray:
    """As `co_reads`, one read after another."""
    found = np.zeros_like(groups)
    for row, token, read in np.ndindex(*groups.shape):
        group = groups[row, token, read]
        for earlier in range(max(0, token - window + 1), token + 1):
            if group != NO_GROUP and segments[row, earlier] == segments[row, token]:
                found[row, token, read] += (groups[row, earlier] == group).sum()
    return found


@given(seed=st.integers(0, 2**32 - 1), window=st.sampled_from([1, 2, 5, 40]))
@settings(deadline=None, max_examples=40)
def test_counts_are_of_the_own_group_within_the_window_and_the_document(seed, window):
    random = np.random.default_rng(seed)
    groups = random.integers(NO_GROUP, 4, (2, 9, 3)).astype(np.int32)
    segments = np.sort(random.integers(0, 3, (2, 9)), axis=1).astype(np.int32)
    found = _co_reads(groups, window, segments=segments)
    np.testing.assert_array_equal(found, _counted(groups, window, segments))
    whole = _co_reads(groups, window)
    np.testing.assert_array_equal(whole, _counted(groups, window, np.zeros_like(segments)))


@pytest.mark.parametrize(("threshold", "window"), [(0, 8), (8, 0), (-1, 8), (8, 4097)])
def test_a_gate_that_cannot_be_is_refused(threshold, window):
    with pytest.raises(InputError, match="must be from 1 to 4096"):
        Relevance(threshold, window)


def _gated(relevance: Relevance | None) -> Transformer:
    """A model with large rows in three groups and some in none."""
    model = Transformer(_CONFIG, rngs=nnx.Rngs(0))
    retrofit(model, [1], _MEMORY)
    layer = memory_layer(model, 1)
    layer.table.values[...] = jnp.ones_like(layer.table.values[...])
    if relevance is not None:
        groups = jnp.arange(64, dtype=jnp.int32) % 4 + NO_GROUP
        layer.relevance = nnx.data(RelevanceGate(groups, relevance))
    return model


_TOKENS = np.random.default_rng(0).integers(0, 32, (2, 40)).astype(np.int32)
_run = nnx.jit(lambda model, tokens: model(tokens))


def test_a_gate_closes_reads_and_an_open_one_changes_nothing():
    without = _run(_gated(None), _TOKENS)
    np.testing.assert_array_equal(_run(_gated(Relevance(1, 4)), _TOKENS), without)
    closed = np.asarray(_run(_gated(Relevance(1000, 4)), _TOKENS))
    some = np.asarray(_run(_gated(Relevance(6, 4)), _TOKENS))
    assert (some != without).any() and (some != closed).any()
    # Rows without a group speak through a closed gate.
    empty = _gated(Relevance(1000, 4))
    memory_layer(empty, 1).table.values[...] *= 0
    assert (closed != np.asarray(_run(empty, _TOKENS))).any()


def test_decoding_in_pieces_opens_what_the_whole_opens():
    model = _gated(Relevance(6, 4))
    whole = _run(model, _TOKENS)
    decode = nnx.jit(lambda model, *inputs: model.decode(*inputs))
    positions = default_positions(_TOKENS)
    caches, found = model.init_cache(2, 40), []
    for start, stop in ((0, 30), (30, 31), (31, 32), (32, 40)):
        part = slice(start, stop)
        x, caches = decode(model, _TOKENS[:, part], positions[:, part], caches)
        found.append(model.logits(x))
    np.testing.assert_allclose(jnp.concatenate(found, axis=1), whole, atol=1e-5)


def test_a_shared_prefix_opens_what_the_whole_opens():
    model = _gated(Relevance(6, 4))
    tokens = _TOKENS.copy()
    tokens[1, :32] = tokens[0, :32]
    prefix = shared_prefix.caches(model, tokens[0, :32].tolist())
    caches = shared_prefix.widened(prefix, 2, 8)
    decode = nnx.jit(lambda model, *inputs: model.decode(*inputs))
    x, _ = decode(model, tokens[:, 32:], 32 + default_positions(tokens[:, 32:]), caches)
    np.testing.assert_allclose(model.logits(x), _run(model, tokens)[:, 32:], atol=1e-5)


def test_documents_of_a_packed_row_open_nothing_for_each_other():
    model = _gated(Relevance(6, 4))
    segments = np.repeat(np.arange(4, dtype=np.int32), 10)[None].repeat(2, axis=0)
    positions = np.tile(np.arange(10, dtype=np.int32), (2, 4))
    run = nnx.jit(
        lambda model, tokens: model.logits(
            model.run_blocks(model.embed(tokens), positions=positions, segments=segments)
        )
    )
    apart = _run(model, _TOKENS.reshape(8, 10)).reshape(2, 40, -1)
    np.testing.assert_allclose(run(model, _TOKENS), apart, atol=1e-5)


def test_later_tokens_open_nothing_earlier():
    model = _gated(Relevance(6, 4))
    other = _TOKENS.copy()
    other[:, 20:] = other[:, 20:][:, ::-1]
    np.testing.assert_array_equal(_run(model, other)[:, :20], _run(model, _TOKENS)[:, :20])


def test_the_settings_of_a_gate_are_part_of_the_compiled_program():
    first, again, other = (nnx.split(_gated(Relevance(6, w)))[0] for w in (4, 4, 5))
    assert first == again and first != other  # else each lesson would be compiled anew
