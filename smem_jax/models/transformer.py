"""A decoder-only transformer of the Llama family as flax.nnx modules.

The forward pass can be entered and left at any block (`embed`, `run_blocks`, `logits`), since
sparse memory finetuning computes all below the memory layer once and never differentiates it.
Weights are float32 [in, out]. Padding goes to the right: under a causal mask nothing real reads it.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from smem_jax.memory.layer import MemoryLayer
from smem_jax.memory.relevance import NO_GROUP
from smem_jax.models import rope
from smem_jax.models.config import ModelConfig
from smem_jax.models.tensor_names import tensor_name
from smem_jax.sharding import axes, constrain, gathered


class KVCache(NamedTuple):
    """Keys and values of one block, each [batch, max_len, num_kv_heads, head_dim].

    `groups` int32 [batch, max_len, reads] is what a relevance gate keeps there; None without one.
    """

    keys: jax.Array
    values: jax.Array
    groups: jax.Array | None = None


class Attention(nnx.Module):
    """Causal grouped-query attention with rotary positions."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        c = config
        self.config = config
        self.query = _linear(c, c.embed_dim, c.num_heads * c.head_dim, ("embed", "heads"), rngs)
        self.key = _linear(c, c.embed_dim, c.num_kv_heads * c.head_dim, ("embed", "heads"), rngs)
        self.value = _linear(c, c.embed_dim, c.num_kv_heads * c.head_dim, ("embed", "heads"), rngs)
        self.out = _linear(c, c.num_heads * c.head_dim, c.embed_dim, ("heads", "embed"), rngs)

    def __call__(
        self,
        x: jax.Array,
        positions: jax.Array,
        cache: KVCache | None = None,
        segments: jax.Array | None = None,
    ) -> tuple[jax.Array, KVCache | None]:
        """Maps [batch, seq, embed_dim] to the same shape.

        With a cache, keys and values are written at `positions` int32 [batch, seq] and every cached
        position up to a query's own is read; without one, the sequence attends to itself. Where
        `segments` int32 [batch, seq] are given, each token attends to those of its own segment.
        """
        freqs = rope.frequencies(self.config)
        heads = (*x.shape[:2], -1, self.config.head_dim)
        query = rope.rotate(self.query(x).reshape(heads), positions, freqs)
        key = rope.rotate(self.key(x).reshape(heads), positions, freqs)
        value = self.value(x).reshape(heads)
        if cache is None:
            mask = None
            if segments is not None:
                mask = (segments[:, :, None] == segments[:, None])[:, None]  # [batch, 1, seq, seq]
            mixed = jax.nn.dot_product_attention(query, key, value, mask=mask, is_causal=True)
        else:
            rows = jnp.arange(x.shape[0])[:, None]
            cache = cache._replace(
                keys=cache.keys.at[rows, positions].set(key),
                values=cache.values.at[rows, positions].set(value),
            )
            seen = jnp.arange(cache.keys.shape[1]) <= positions[..., None]  # [batch, seq, max_len]
            mixed = jax.nn.dot_product_attention(
                query, cache.keys, cache.values, mask=seen[:, None]
            )
        return self.out(mixed.reshape(*x.shape[:2], -1)), cache


class FeedForward(nnx.Module):
    """SwiGLU: (silu(x Wgate) * x Wup) Wdown."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        self.gate = _linear(config, config.embed_dim, config.ffn_dim, ("embed", "ffn"), rngs)
        self.up = _linear(config, config.embed_dim, config.ffn_dim, ("embed", "ffn"), rngs)
        self.down = _linear(config, config.ffn_dim, config.embed_dim, ("ffn", "embed"), rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [..., embed_dim] to the same shape."""
        return self.down(nnx.silu(self.gate(x)) * self.up(x))


class Block(nnx.Module):
    """Attention, then a feed-forward network, a memory layer, or the two side by side.

    `ffn` is None where a memory layer replaced it; `memory` is None in an ordinary block.
    """

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        self.attention_norm = _norm(config, rngs)
        self.attention = Attention(config, rngs=rngs)
        self.ffn_norm = _norm(config, rngs)
        self.ffn: FeedForward | None = nnx.data(FeedForward(config, rngs=rngs))
        self.memory: MemoryLayer | None = nnx.data(None)

    def before_memory(
        self,
        x: jax.Array,
        positions: jax.Array,
        cache: KVCache | None = None,
        segments: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array, KVCache | None]:
        """All of the block that a memory layer does not touch.

        Returns the residual stream with attention and feed-forward added, the normalised hidden
        state that a memory layer reads (both [batch, seq, embed_dim]), and the cache.
        """
        mixed, cache = self.attention(self.attention_norm(x), positions, cache, segments)
        x = x + mixed
        hidden = self.ffn_norm(x)
        if self.ffn is not None:
            x = x + self.ffn(hidden)
        return x, hidden, cache

    def __call__(
        self,
        x: jax.Array,
        positions: jax.Array,
        cache: KVCache | None = None,
        segments: jax.Array | None = None,
    ) -> tuple[jax.Array, KVCache | None]:
        """Maps [batch, seq, embed_dim] to the same shape."""
        x, hidden, cache = self.before_memory(x, positions, cache, segments)
        if self.memory is None:
            return x, cache
        if cache is None:
            said = self.memory(hidden, segments)
        else:
            said, groups = self.memory.decode(hidden, positions, cache.groups)
            cache = cache._replace(groups=groups)
        return x + said.astype(x.dtype), cache

    def init_cache(self, batch: int, max_len: int, dtype=jnp.float32) -> KVCache:
        """An empty cache for `max_len` tokens."""
        c = self.attention.config
        shape = (batch, max_len, c.num_kv_heads, c.head_dim)
        groups = None
        if self.memory is not None and self.memory.relevance is not None:
            m = self.memory.config
            groups = jnp.full((batch, max_len, m.num_heads * m.top_k), NO_GROUP, jnp.int32)
        return KVCache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype), groups)


class Transformer(nnx.Module):
    """Embedding, blocks, norm and language-model head."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.embedding = nnx.Embed(
            config.vocab_size,
            config.embed_dim,
            dtype=config.compute_dtype,
            param_dtype=config.params_dtype,
            embedding_metadata=axes("vocab", "embed"),
            rngs=rngs,
        )
        self.blocks = nnx.List([Block(config, rngs=rngs) for _ in range(config.num_blocks)])
        self.norm = _norm(config, rngs)
        self.head: nnx.Linear | None = nnx.data(
            None
            if config.tied_embeddings
            else _linear(config, config.embed_dim, config.vocab_size, ("embed", "vocab"), rngs)
        )

    def embed(self, tokens: jax.Array) -> jax.Array:
        """Maps int32 [batch, seq] to [batch, seq, embed_dim]."""
        table = self.embedding.embedding[...].astype(self.config.compute_dtype)
        found = jnp.take(constrain(table, "vocab", None), tokens, axis=0)
        return constrain(found, "batch", None, None)

    def block(self, number: int) -> Block:
        """A block, ready for use where its parameters are split over devices."""
        return gathered(self.blocks[number], self.config.compute_dtype)

    def run_blocks(
        self,
        x: jax.Array,
        start: int = 0,
        stop: int | None = None,
        positions: jax.Array | None = None,
        segments: jax.Array | None = None,
        remat: bool = False,
    ) -> jax.Array:
        """Runs blocks `start` to `stop` (exclusive) on [batch, seq, embed_dim], without a cache.

        Args:
          positions: int32 [batch, seq]; 0, 1, ... in each row when None.
          segments: int32 [batch, seq], the documents of a packed row; each row is one when None.
          remat: keep only what goes into each block for the backward pass, and run it again there.
        """
        if positions is None:
            positions = default_positions(x)
        run = _run_again_in_backward if remat else _run
        for block in self.blocks[start:stop]:
            x = run(block, self.config.compute_dtype, x, positions, segments)
            x = constrain(x, "batch", None, None)
        return x

    def logits(self, x: jax.Array) -> jax.Array:
        """Maps the residual stream [..., embed_dim] to float32 logits [..., vocab_size]."""
        x = self.norm(x)
        return self.embedding.attend(x) if self.head is None else self.head(x)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Maps int32 [batch, seq] to logits [batch, seq, vocab_size]."""
        return self.logits(self.run_blocks(self.embed(tokens)))

    def init_cache(self, batch: int, max_len: int, dtype=jnp.float32) -> list[KVCache]:
        """Empty caches, one for each block."""
        return [block.init_cache(batch, max_len, dtype) for block in self.blocks]

    def decode(
        self, tokens: jax.Array, positions: jax.Array, caches: list[KVCache]
    ) -> tuple[jax.Array, list[KVCache]]:
        """Runs `tokens` int32 [batch, seq] at `positions` [batch, seq] against the caches.

        Returns the residual stream [batch, seq, embed_dim] before the final norm, and the caches
        with these tokens in them.
        """
        x = self.embed(tokens)
        new_caches = []
        for block, cache in zip(self.blocks, caches, strict=True):
            x, new_cache = block(x, positions, cache)
            assert new_cache is not None  # a block that is given a cache returns one
            new_caches.append(new_cache)
        return x, new_caches

    @classmethod
    def from_tensors(
        cls,
        config: ModelConfig,
        tensors: Mapping[str, np.ndarray],
        without_ffn: Sequence[int] = (),
    ) -> "Transformer":
        """Builds the model from weights under their Hugging Face Llama names, [out, in].

        Blocks in `without_ffn` get no feed-forward network: a memory layer is to replace it. Raises
        ValueError for a tensor that is missing or has the wrong shape.
        """
        abstract = cls._abstract(config)
        for number in without_ffn:
            abstract.blocks[number].ffn = nnx.data(None)
        graph, state = nnx.split(abstract)
        flat = nnx.to_flat_state(state)
        filled = []
        for path, variable in flat:
            name, transpose = tensor_name(path)
            if name not in tensors:
                raise ValueError(f"tensor {name!r} is missing from the checkpoint")
            tensor = np.asarray(tensors[name], dtype=np.float32)
            tensor = tensor.T if transpose else tensor
            if tensor.shape != variable.shape:
                raise ValueError(
                    f"tensor {name!r} has shape {tensor.shape}, the configuration asks for "
                    f"{variable.shape} (transposed: {transpose})"
                )
            filled.append((path, variable.replace(jnp.asarray(tensor))))
        return nnx.merge(graph, nnx.from_flat_state(filled))

    @classmethod
    def _abstract(cls, config: ModelConfig) -> "Transformer":
        """The model with shapes in place of arrays. To trace every block would take seconds."""
        one_block = dataclasses.replace(config, num_blocks=1)
        model = nnx.eval_shape(lambda: cls(one_block, rngs=nnx.Rngs(0)))
        block = nnx.eval_shape(lambda: Block(config, rngs=nnx.Rngs(0)))
        model.config = config
        model.blocks = nnx.List([nnx.clone(block) for _ in range(config.num_blocks)])
        return model


def _run(block: Block, dtype: str, x, positions, segments) -> jax.Array:
    return gathered(block, dtype)(x, positions, segments=segments)[0]


def _run_again_in_backward(block: Block, dtype: str, *inputs: jax.Array | None) -> jax.Array:
    graphdef, state = nnx.split(block)
    run = jax.checkpoint(lambda state, *inputs: _run(nnx.merge(graphdef, state), dtype, *inputs))
    return run(state, *inputs)


def _linear(
    config: ModelConfig, features_in: int, features_out: int, names: tuple[str, str], rngs: nnx.Rngs
) -> nnx.Linear:
    return nnx.Linear(
        features_in,
        features_out,
        use_bias=False,
        dtype=config.compute_dtype,
        param_dtype=config.params_dtype,
        kernel_metadata=axes(*names),
        rngs=rngs,
    )


def _norm(config: ModelConfig, rngs: nnx.Rngs) -> nnx.RMSNorm:
    return nnx.RMSNorm(
        config.embed_dim,
        epsilon=config.norm_epsilon,
        dtype=config.compute_dtype,
        param_dtype=config.params_dtype,
        rngs=rngs,
    )


def default_positions(x: jax.Array) -> jax.Array:
    """Positions 0, 1, ... for each row of [batch, seq, ...]: int32 [batch, seq]."""
    return jnp.broadcast_to(jnp.arange(x.shape[1], dtype=jnp.int32), x.shape[:2])
