"""The training step as compiled: what it computes, what it copies, which rows it moves."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from smem_jax.memory.config import MemoryConfig
from smem_jax.models.config import ModelConfig
from smem_jax.models.retrofit import retrofit
from smem_jax.models.transformer import Transformer
from smem_jax.optim import row_adam, row_sgd
from smem_jax.scores import background_total
from smem_jax.train import step as step_module
from smem_jax.train.step import (
    Batch,
    DriftSample,
    Ordinary,
    Settings,
    initial_state,
    train_step,
)

_WIDTH, _BATCH, _SEQ, _READS, _TOP_T = 16, 4, 6, 8, 5


@functools.cache
def _model(num_blocks, block):
    """A graph and the state of a model with memory in `block`, without its table."""
    config = ModelConfig(
        vocab_size=30,
        num_blocks=num_blocks,
        embed_dim=_WIDTH,
        num_heads=2,
        num_kv_heads=1,
        head_dim=8,
        ffn_dim=24,
    )
    model = Transformer(config, rngs=nnx.Rngs(0))
    sizes = {"num_slots": 64, "num_heads": 2, "top_k": 4, "key_dim": 8}
    memory = MemoryConfig(_WIDTH, _WIDTH, **sizes, gate=False, output_projection=False)
    retrofit(model, [block], memory)
    return nnx.split(model)


def _inputs(num_rows):
    """Of a step: what ordinary text reads, a batch, and a sample of background tokens."""
    rng = np.random.default_rng(0)
    shape = (_BATCH, _SEQ)
    mask = np.arange(_SEQ) < np.array([6, 6, 4, 3])[:, None]

    def floats(*sizes):
        return jnp.asarray(rng.normal(size=sizes), jnp.float32)

    frequency = jnp.asarray(rng.integers(0, 9, num_rows), jnp.int32)
    batch = Batch(
        floats(*shape, _WIDTH),
        jnp.zeros((*shape, 0)),
        jnp.asarray(rng.integers(0, num_rows // 2, (*shape, _READS)), jnp.int32),
        floats(*shape, _READS) * mask[..., None],
        jnp.asarray(mask),
        jnp.asarray([[1, 2]] * _BATCH),
        jnp.asarray(rng.integers(0, 30, (_BATCH, 2))),
        jnp.asarray([[True, True]] * 3 + [[True, False]]),
    )
    drift = DriftSample(jnp.asarray(rng.integers(0, num_rows, (7, _READS))), floats(7, _READS))
    return Ordinary(frequency, 9, background_total(frequency)), batch, drift


def _step(num_rows, settings, num_blocks=2):
    values = jnp.asarray(np.random.default_rng(1).normal(size=(num_rows, _WIDTH)), jnp.float32)
    state = initial_state(values, settings.optimizer)
    return (
        *_model(num_blocks, settings.block),
        state,
        *_inputs(num_rows),
        settings,
        0.1,
        jax.random.key(0),
    )


_SGD, _ADAM = row_sgd(), row_adam()
_SETTINGS = Settings(0, _TOP_T, "tf_idf", _SGD, 1.0, 2)


def test_nothing_below_the_memory_layer_is_run_or_differentiated():
    def flops(num_blocks, block):
        settings = _SETTINGS._replace(block=block)
        compiled = train_step.lower(*_step(64, settings, num_blocks)).compile()
        return compiled.cost_analysis()["flops"]

    last_of_two, last_of_five = flops(2, 1), flops(5, 4)
    assert last_of_two == last_of_five
    # The measure sees a block: forwards, and backwards by its input alone, once for each part.
    assert flops(2, 0) > last_of_two + 2 * (_BATCH // 2) * _SEQ * _WIDTH * 24 * 3


@pytest.mark.parametrize("optimizer", [_SGD, _ADAM], ids=["sgd", "adam"])
def test_no_copy_of_the_table_or_of_the_state_is_made(optimizer):
    num_rows = 2**15
    arguments = _step(num_rows, _SETTINGS._replace(optimizer=optimizer))
    kept = sum(leaf.nbytes for leaf in jax.tree.leaves(arguments[2]))
    compiled = train_step.lower(*arguments).compile()
    memory = compiled.memory_analysis()
    assert memory.alias_size_in_bytes == kept
    assert memory.temp_size_in_bytes < kept / 10
    lines = compiled.as_text().splitlines()
    assert not [line for line in lines if f"[{num_rows},{_WIDTH}]" in line and " copy(" in line]


@pytest.mark.parametrize("mode", ["tf_idf", "tf", "kl", "random", "read"])
def test_each_mode_moves_read_rows_only_and_says_which(mode):
    arguments = _step(64, _SETTINGS._replace(mode=mode, top_t=64 if mode == "read" else _TOP_T))
    before = np.asarray(arguments[2].values)
    _, batch, _ = _inputs(64)
    read = np.unique(np.asarray(batch.rows)[np.asarray(batch.mask)])
    state, report = train_step(*arguments)
    moved = np.flatnonzero((before != np.asarray(state.values)).any(axis=1))
    changed = np.flatnonzero(state.changed)
    assert len(changed) == report.selected == (len(read) if mode == "read" else _TOP_T)
    # What a token reads behind the last scored one has no gradient.
    assert len(moved) > 0 and set(moved) <= set(changed) <= set(read)


def test_the_step_is_that_of_the_gradient_of_the_whole_table():
    arguments = _step(64, _SETTINGS._replace(mode="read", top_t=64))
    graphdef, frozen, state, _, batch, drift, *_ = arguments
    model, values = nnx.merge(graphdef, frozen), np.asarray(state.values)

    def loss(values):
        def summed(rows, weights):
            return jnp.einsum("...k,...kd->...d", weights, values[rows])

        nll = step_module._total_nll(model, 0, summed(batch.rows, batch.weights), batch)
        return nll / batch.scored.sum() + step_module._drift(summed(drift.rows, drift.weights))

    expected, gradient = jax.value_and_grad(loss)(state.values)
    moved, report = train_step(*arguments)
    rows = np.flatnonzero(moved.changed)
    np.testing.assert_allclose(report.loss + report.drift, expected, rtol=1e-5)
    np.testing.assert_allclose(
        moved.values[rows], (values - 0.1 * gradient)[rows], rtol=1e-4, atol=1e-6
    )


def test_drift_is_counted_from_what_the_memory_said_before():
    """A penalty that outweighs the loss holds a table where it was, not at zero."""
    settings = _SETTINGS._replace(mode="read", top_t=64, drift_weight=1.0)
    arguments = list(_step(64, settings))
    drift = arguments[5]
    said = jnp.einsum("...k,...kd->...d", drift.weights, arguments[2].values[drift.rows])
    arguments[5] = drift._replace(before=said)
    _, report = train_step(*arguments)
    assert float(report.drift) == pytest.approx(0, abs=1e-9)
    _, of_zero = train_step(*_step(64, settings))
    assert float(of_zero.drift) == pytest.approx(float(step_module._drift(said)), rel=1e-5)


@pytest.mark.parametrize("had_said", [False, True])
def test_drift_at_readers_is_that_of_the_tokens_that_read_the_selected_rows(had_said):
    arguments = list(_step(64, _SETTINGS))
    selected = np.flatnonzero(train_step(*_step(64, _SETTINGS))[0].changed)
    random = np.random.default_rng(2)
    readers = random.integers(0, 8, (64, 3)).astype(np.int32)  # of 7 tokens; 7 is none
    sample = arguments[5]
    if had_said:
        sample = sample._replace(before=jnp.asarray(random.normal(size=(7, _WIDTH)), jnp.float32))
    tokens = readers[selected].ravel()

    def padded(array):
        return jnp.concatenate([array, jnp.zeros_like(array[:1])])[tokens]

    arguments[5] = sample._replace(readers=jnp.asarray(readers))
    moved, report = train_step(*arguments)
    arguments = list(_step(64, _SETTINGS))
    arguments[5] = jax.tree.map(padded, sample)
    expected, by_hand = train_step(*arguments)
    np.testing.assert_array_equal(moved.values, expected.values)
    assert float(report.drift) == float(by_hand.drift) > 0
