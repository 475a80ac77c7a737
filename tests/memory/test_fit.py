"""Fitted queries and sub-keys use slots evenly where random ones do not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

from smem_jax.errors import InputError
from smem_jax.memory.config import MemoryConfig
from smem_jax.memory.fit import fit, slot_use, spherical_k_means
from smem_jax.memory.layer import MemoryLayer
from smem_jax.slots import access_counts

_CONFIG = MemoryConfig(
    input_dim=24,
    output_dim=24,
    num_slots=256,
    num_heads=2,
    top_k=4,
    key_dim=16,
    gate=False,
    normalize_queries=True,
    normalize_keys=True,
)


def _hidden_states(num_tokens, seed):
    """Like those of a language model: clusters, a shared offset, a few large directions."""
    centres = np.random.default_rng(0).normal(size=(40, 24))
    rng = np.random.default_rng(seed)
    points = centres[rng.integers(0, 40, num_tokens)] + 0.4 * rng.normal(size=(num_tokens, 24))
    return jnp.asarray(points * np.geomspace(20, 1.5, 24) + 8, jnp.float32)


def _counts(layer, hidden):
    return np.asarray(access_counts(layer.read(hidden).indices, layer.config.num_slots))


@pytest.fixture(scope="module")
def fitted():
    layer = MemoryLayer(_CONFIG, rngs=nnx.Rngs(0))
    fit(layer, _hidden_states(2000, seed=1), jax.random.key(0))
    return layer


def test_fitted_slots_are_used_more_evenly_than_random_ones(fitted):
    held_out = _hidden_states(1000, seed=2)
    random_share, random_perplexity = slot_use(
        _counts(MemoryLayer(_CONFIG, rngs=nnx.Rngs(0)), held_out)
    )
    share, perplexity = slot_use(_counts(fitted, held_out))
    assert share > 0.95 > random_share
    assert perplexity > 128
    assert perplexity > 2 * random_perplexity


def test_fitted_queries_are_white(fitted):
    queries = np.asarray(fitted.query(_hidden_states(2000, seed=1))).reshape(2000, 2, 16)
    np.testing.assert_allclose(queries.mean(axis=0), 0, atol=1e-2)
    for head in range(2):
        covariance = np.cov(queries[:, head], rowvar=False)
        np.testing.assert_allclose(covariance, np.eye(16), atol=2e-2)


def test_heads_see_the_hidden_state_from_different_sides(fitted):
    kernels = np.asarray(fitted.query.kernel[...]).reshape(24, 2, 16)
    assert np.abs(kernels[:, 0] - kernels[:, 1]).max() > 0.1
    np.testing.assert_allclose(np.linalg.norm(fitted.sub_keys[...], axis=-1), 1, rtol=1e-5)


def test_the_same_key_fits_the_same(fitted):
    hidden = _hidden_states(2000, seed=1)
    again, other = (MemoryLayer(_CONFIG, rngs=nnx.Rngs(0)) for _ in range(2))
    fit(again, hidden, jax.random.key(0))
    fit(other, hidden, jax.random.key(1))
    np.testing.assert_array_equal(again.sub_keys[...], fitted.sub_keys[...])
    np.testing.assert_array_equal(again.query.kernel[...], fitted.query.kernel[...])
    assert not np.array_equal(other.sub_keys[...], fitted.sub_keys[...])


def test_a_direction_without_variance_does_no_harm():
    hidden = _hidden_states(300, seed=3).at[:, 5].set(2.0)
    layer = MemoryLayer(_CONFIG, rngs=nnx.Rngs(0))
    fit(layer, hidden, jax.random.key(0))
    assert np.isfinite(layer(hidden)).all()
    assert slot_use(_counts(layer, hidden))[0] > 0.5


def test_k_means_finds_separate_clusters():
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    points = np.repeat(directions, 30, axis=0) + 0.05 * rng.normal(size=(240, 8))
    points = jnp.asarray(points / np.linalg.norm(points, axis=-1, keepdims=True))
    # More centres than clusters, since k-means may leave two clusters to one centre.
    centres = spherical_k_means(points, jax.random.key(0), 24, 10)
    np.testing.assert_allclose(np.linalg.norm(centres, axis=-1), 1, rtol=1e-5)
    assert (points @ centres.T).max(axis=-1).min() > 0.9


def test_use_of_slots_is_that_of_scipy():
    counts = np.random.default_rng(0).poisson(0.7, 500)
    share, perplexity = slot_use(counts)
    assert share == np.count_nonzero(counts) / 500
    assert perplexity == pytest.approx(np.exp(stats.entropy(counts)))


def test_use_of_slots_at_its_ends():
    assert slot_use(np.full(64, 3)) == (1.0, pytest.approx(64))
    assert slot_use(np.eye(64)[5]) == (1 / 64, pytest.approx(1))
    with pytest.raises(InputError, match=r"counts of shape \(64,\) has no read"):
        slot_use(np.zeros(64))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((15, 24), r"hidden has shape \(15, 24\); \[num_tokens, 24\] with at least 16 tokens"),
        ((100, 23), r"hidden has shape \(100, 23\)"),
        ((10, 10, 24), r"hidden has shape \(10, 10, 24\)"),
    ],
)
def test_hidden_states_that_do_not_fit_are_refused(shape, message):
    with pytest.raises(InputError, match=message):
        fit(MemoryLayer(_CONFIG, rngs=nnx.Rngs(0)), jnp.zeros(shape), jax.random.key(0))


def test_a_query_wider_than_the_hidden_state_is_refused():
    config = MemoryConfig(input_dim=4, output_dim=4, num_slots=16, top_k=2, key_dim=6)
    with pytest.raises(InputError, match="key_dim=6 exceeds the hidden width input_dim=4"):
        fit(MemoryLayer(config, rngs=nnx.Rngs(0)), jnp.zeros((9, 4)), jax.random.key(0))
