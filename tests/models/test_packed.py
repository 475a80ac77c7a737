"""The transformer on packed rows: documents apart, and blocks run again."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from smem_jax.models.config import ModelConfig
from smem_jax.models.transformer import Transformer

_CONFIG = ModelConfig(50, 2, 32, 4, 2, 8, 64)
_SEGMENTS = np.array([[1, 1, 1, 1, 2, 2, 2, 0]], np.int32)
_POSITIONS = np.array([[0, 1, 2, 3, 0, 1, 2, 0]], np.int32)
_TOKENS = np.random.default_rng(0).integers(0, 50, (1, 8)).astype(np.int32)


def _logits(model, tokens, **options):
    return model.logits(model.run_blocks(model.embed(tokens), **options))


def test_a_packed_document_has_the_logits_that_it_has_alone():
    model = Transformer(_CONFIG, rngs=nnx.Rngs(0))
    packed = _logits(model, _TOKENS, positions=_POSITIONS, segments=_SEGMENTS)
    for start, stop in ((0, 4), (4, 7)):
        alone = model(_TOKENS[:, start:stop])
        np.testing.assert_allclose(packed[:, start:stop], alone, atol=1e-5)


def test_the_gradient_does_not_depend_on_what_is_kept():
    graphdef, state = nnx.split(Transformer(_CONFIG, rngs=nnx.Rngs(0)))

    def loss(state, remat):
        logits = _logits(
            nnx.merge(graphdef, state),
            _TOKENS,
            positions=_POSITIONS,
            segments=_SEGMENTS,
            remat=remat,
        )
        return jnp.sum(logits**2)

    expected, found = (jax.grad(loss)(state, kept) for kept in (False, True))
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_bfloat16_is_near_float32():
    config = ModelConfig(50, 2, 32, 4, 2, 8, 64, compute_dtype="bfloat16")
    exact, rounded = (Transformer(c, rngs=nnx.Rngs(0)) for c in (_CONFIG, config))
    x = rounded.run_blocks(rounded.embed(_TOKENS))
    assert x.dtype == jnp.bfloat16
    difference = np.abs(np.asarray(exact(_TOKENS)) - np.asarray(rounded(_TOKENS), np.float32))
    assert 0 < difference.max() < 0.1
