"""The likelihood of packed documents, token by token."""

import jax
import jax.numpy as jnp

from smem_jax.data.packing import Rows


def total_nll(logits: jax.Array, rows: Rows[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Negative log-likelihood of all next tokens together, and how many there are.

    The first token of a document is predicted by nothing, and what follows it in the row, another
    document or padding, is not predicted by it.

    Args:
      logits: [batch, seq, vocab_size].
      rows: packed documents, int32 [batch, seq] each.

    Returns:
      Two float32 scalars: nats, and tokens.
    """
    targets = jnp.roll(rows.tokens, -1, axis=1)
    same = (rows.segments == jnp.roll(rows.segments, -1, axis=1)) & (rows.segments > 0)
    scored = same.at[:, -1].set(False)
    logits = logits.astype(jnp.float32)
    of_target = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    nll = jax.nn.logsumexp(logits, axis=-1) - of_target
    return jnp.sum(nll * scored), scored.sum().astype(jnp.float32)
