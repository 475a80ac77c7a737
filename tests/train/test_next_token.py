import numpy as np

from smem_jax.data.packing import Rows
from smem_jax.train.next_token import total_nll


def test_tokens_are_predicted_within_their_document_only():
    random = np.random.default_rng(0)
    tokens = random.integers(0, 7, (2, 6)).astype(np.int32)
    segments = np.array([[1, 1, 1, 2, 2, 0], [1, 2, 2, 2, 2, 2]], np.int32)
    logits = random.normal(size=(2, 6, 7)).astype(np.float32)
    total, count = total_nll(logits, Rows(tokens, segments, np.zeros_like(tokens)))
    log = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    pairs = [(0, 0), (0, 1), (0, 3), (1, 1), (1, 2), (1, 3), (1, 4)]
    assert count == len(pairs)
    expected = -sum(log[row, at, tokens[row, at + 1]] for row, at in pairs)
    np.testing.assert_allclose(total, expected, rtol=1e-5)
