"""Negative log-likelihood of answers and of running text."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from flax import nnx

from smem_jax.data.encode import answer_ids
from smem_jax.errors import InputError
from smem_jax.evaluate.batching import bucketed_batches, pad_rows
from smem_jax.models.pretrained import Tokenizer
from smem_jax.models.transformer import Transformer

# The logits of this many positions are in memory at a time: 50 MB for a vocabulary of 49,152.
_HEAD_CHUNK = 256


class AnswerNLL(NamedTuple):
    """`nll` float64 [num_examples]: nats per answer token; `tokens` int64: number of these."""

    nll: np.ndarray
    tokens: np.ndarray

    @property
    def mean(self) -> float:
        """Nats per token, averaged over the examples."""
        return float(self.nll.mean())


class TextNLL(NamedTuple):
    """Nats over all scored tokens, and how many of these there are."""

    total: float
    tokens: int

    @property
    def mean(self) -> float:
        """Nats per token."""
        return self.total / self.tokens


def answer_nll(
    model: Transformer,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    answers: Sequence[str],
    batch_size: int = 16,
) -> AnswerNLL:
    """How unlikely each answer is after its prompt.

    Only the tokens of the answer count, with the space before it and without an end. The prompt
    should not end in a space. Raises InputError for an empty prompt.
    """
    prompt_ids = [tokenizer.encode(prompt) for prompt in prompts]
    for prompt, ids in zip(prompts, prompt_ids, strict=True):
        if not ids:
            raise InputError(f"prompt {prompt!r} is empty; the likelihood needs a token before it")
    target_ids = [answer_ids(tokenizer, answer) for answer in answers]
    rows = [prompt + target for prompt, target in zip(prompt_ids, target_ids, strict=True)]
    tokens = np.asarray([len(target) for target in target_ids])
    longest = -(-tokens.max(initial=1) // 8) * 8
    batches = list(bucketed_batches([len(row) for row in rows], batch_size))
    nll = np.zeros(len(rows))
    graphdef, state = nnx.split(model)
    for batch, length in tqdm.tqdm(batches, desc="answer likelihood", delay=2):
        starts = np.zeros(batch_size, np.int32)
        starts[: len(batch)] = [len(prompt_ids[row]) - 1 for row in batch]
        # Beyond a short answer the positions may point at padding; these columns are dropped.
        positions = np.minimum(starts[:, None] + np.arange(longest), length - 1)
        inputs = pad_rows([rows[row] for row in batch], batch_size, length, tokenizer.pad_id)
        targets = pad_rows([target_ids[row] for row in batch], batch_size, longest, 0)
        losses = np.asarray(_token_nll(graphdef, state, inputs, positions, targets), np.float64)
        scored = np.arange(longest) < tokens[batch, None]
        nll[batch] = (losses[: len(batch)] * scored).sum(axis=1) / tokens[batch]
    return AnswerNLL(nll, tokens)


def text_nll(
    model: Transformer,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    seq_len: int = 512,
    batch_size: int = 4,
) -> TextNLL:
    """How unlikely running text is: `texts`, one to a line, as a single stream of tokens.

    The stream is cut into windows of `seq_len` predictions, or of as many as the model has
    positions where these are fewer. Every token but the very first is
    scored exactly once, from the tokens before it in its window; a window's first prediction comes
    from the last token of the window before. Raises InputError for text of fewer than two tokens.
    """
    stream = np.concatenate(
        [np.zeros(0, np.int32), *tokenizer.encode_batch([f"{t}\n" for t in texts])]
    )
    if len(stream) < 2:
        raise InputError(f"text of {len(stream)} tokens has no likelihood; at least 2 are needed")
    seq_len = min(seq_len, model.config.max_positions)
    num_scored = len(stream) - 1
    num_rows = -(-num_scored // (seq_len * batch_size)) * batch_size
    padding = num_rows * seq_len - num_scored
    inputs = np.pad(stream[:-1], (0, padding)).astype(np.int32).reshape(-1, batch_size, seq_len)
    targets = np.pad(stream[1:], (0, padding)).astype(np.int32).reshape(-1, batch_size, seq_len)
    positions = np.broadcast_to(np.arange(seq_len, dtype=np.int32), (batch_size, seq_len))
    graphdef, state = nnx.split(model)
    losses = [
        np.asarray(_token_nll(graphdef, state, batch, positions, target), np.float64)
        for batch, target in zip(
            tqdm.tqdm(inputs, desc="text likelihood", delay=2), targets, strict=True
        )
    ]
    return TextNLL(float(np.stack(losses).ravel()[:num_scored].sum()), num_scored)


# One cache for the process: the same model before and after teaching shares its compilations.
@functools.partial(jax.jit, static_argnums=0)
def _token_nll(
    graphdef: nnx.GraphDef,
    state: nnx.State,
    tokens: jax.Array,
    positions: jax.Array,
    targets: jax.Array,
) -> jax.Array:
    """Nats of `targets` int32 [batch, scored] as predicted at `positions` of `tokens` [batch, seq].

    Returns float32 [batch, scored]. The head, a fifth of the cost, is applied at these positions
    only.
    """
    model = nnx.merge(graphdef, state)
    hidden = model.run_blocks(model.embed(tokens))
    scored = jnp.take_along_axis(hidden, positions[..., None], axis=1)  # [batch, scored, embed_dim]

    def one(pair: tuple[jax.Array, jax.Array]) -> jax.Array:
        vector, target = pair
        logits = model.logits(vector).astype(jnp.float32)
        return jax.nn.logsumexp(logits) - logits[target]

    flat = (scored.reshape(-1, scored.shape[-1]), targets.reshape(-1))
    return jax.lax.map(one, flat, batch_size=_HEAD_CHUNK).reshape(targets.shape)
