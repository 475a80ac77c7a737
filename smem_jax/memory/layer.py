"""The memory layer: a query picks a few rows of a large table through product keys and sums them.

After 'Memory Layers at Scale' (arXiv 2412.09764) and its published code. For an input x, per head::

    q = x Wq + bq                  in two halves, each scored against n sub-keys
    w = softmax(score_scale * s)   over the top_k best of the n * n sums of scores s
    m = sum over heads and reads of w * values[slot]
    y = (m * silu(x Wg + bg)) Wo + bo          'Memory+'; the gate and Wo may be left out
"""

import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from smem_jax.errors import InputError
from smem_jax.kernels.lookup import lookup
from smem_jax.memory import product_keys
from smem_jax.memory.config import MemoryConfig
from smem_jax.memory.relevance import RelevanceGate
from smem_jax.memory.tables import CompactTable, ValueTable
from smem_jax.sharding import axes, table_layout


class Reads(NamedTuple):
    """What a layer reads: slot numbers int32 and weights float32, both [..., num_heads * top_k]."""

    indices: jax.Array
    weights: jax.Array


class MemoryLayer(nnx.Module):
    """A memory layer over a value table of its own, or over one that other layers share."""

    def __init__(
        self,
        config: MemoryConfig,
        *,
        table: ValueTable | CompactTable | None = None,
        rngs: nnx.Rngs,
    ):
        c = config
        if isinstance(table, ValueTable) and table.values.shape != (c.num_slots, c.row_dim):
            raise InputError(
                f"the shared value table has shape {table.values.shape}; "
                f"({c.num_slots}, {c.row_dim}) is right for this layer"
            )
        self.config = c
        self.query = nnx.Linear(
            c.input_dim,
            c.num_heads * c.key_dim,
            kernel_init=nnx.initializers.xavier_uniform(),
            kernel_metadata=axes("embed", None),
            rngs=rngs,
        )
        bound = c.key_dim**-0.5
        self.sub_keys = nnx.Param(
            jax.random.uniform(
                rngs.params(),
                (c.num_heads, 2, c.num_sub_keys, c.key_dim // 2),
                minval=-bound,
                maxval=bound,
            )
        )
        self.table = ValueTable(c, rngs=rngs) if table is None else table
        normal = nnx.initializers.normal(c.output_dim**-0.5)
        self.gate: nnx.Linear | None = nnx.data(
            nnx.Linear(
                c.input_dim,
                c.row_dim,
                kernel_init=normal,
                kernel_metadata=axes("embed", None),
                rngs=rngs,
            )
            if c.gate
            else None
        )
        self.output: nnx.Linear | None = nnx.data(
            nnx.Linear(
                c.row_dim,
                c.output_dim,
                kernel_init=normal,
                kernel_metadata=axes(None, "embed"),
                rngs=rngs,
            )
            if c.output_projection
            else None
        )
        self.relevance: RelevanceGate | None = nnx.data(None)  # see smem_jax.memory.relevance

    def queries(self, x: jax.Array) -> jax.Array:
        """[..., num_heads, key_dim] of [..., input_dim], normalised as configured."""
        c = self.config
        queries = self.query(x).reshape(*x.shape[:-1], c.num_heads, 2, c.key_dim // 2)
        if c.normalize_queries:
            queries = _unit(queries)
        return queries.reshape(*x.shape[:-1], c.num_heads, c.key_dim)

    def search(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Scores (times `score_scale`) and slots of [..., input_dim]: [..., num_heads, top_k]."""
        sub_keys = self.sub_keys[...]
        if self.config.normalize_keys:
            sub_keys = _unit(sub_keys)
        search = functools.partial(product_keys.search, top_k=self.config.top_k)
        layout = table_layout()
        if layout is not None:
            # Else some compilers gather the scores of all sub-keys for a top-k of the whole batch.
            batch, whole = jax.P(layout.batch), jax.P()
            search = jax.shard_map(
                search, in_specs=(batch, whole), out_specs=batch, check_vma=False
            )
        scores, slots = search(self.queries(x), sub_keys)
        return self.config.score_scale * scores, slots

    def read(self, x: jax.Array) -> Reads:
        """The slots that [..., input_dim] reads, and with what weights."""
        scores, slots = self.search(x)
        weights = jax.nn.softmax(scores, axis=-1)
        flat = (*x.shape[:-1], -1)
        return Reads(slots.reshape(flat), weights.reshape(flat))

    def write_out(self, looked_up: jax.Array, x: jax.Array) -> jax.Array:
        """The output [..., output_dim] from the sum of rows [..., row_dim] and the input."""
        if self.gate is not None:
            looked_up = looked_up * nnx.silu(self.gate(x))
        return looked_up if self.output is None else self.output(looked_up)

    def __call__(self, x: jax.Array, segments: jax.Array | None = None) -> jax.Array:
        """Maps [..., input_dim] to [..., output_dim].

        A relevance gate takes the axis before the last for the tokens of a text, one behind the
        other; where `segments` int32 [..., seq] are given, of several.
        """
        indices, weights = self.read(x)
        if self.relevance is not None:
            weights = self.relevance(indices, weights, segments)
        return self._look_up(indices, weights, x)

    def decode(
        self, x: jax.Array, positions: jax.Array, history: jax.Array | None
    ) -> tuple[jax.Array, jax.Array | None]:
        """The same for tokens [batch, seq, input_dim] at `positions` behind others.

        `history` is what a relevance gate knows of those, see there; None without a gate. It is
        returned with these tokens in it.
        """
        indices, weights = self.read(x)
        if self.relevance is not None:
            assert history is not None  # the caches of a model with a gate have one
            weights, history = self.relevance.decode(indices, weights, positions, history)
        return self._look_up(indices, weights, x), history

    def _look_up(self, indices: jax.Array, weights: jax.Array, x: jax.Array) -> jax.Array:
        values, places = self.table.values[...], self.table.places(indices)
        return self.write_out(lookup(values, places, weights, layout=table_layout()), x)

    @classmethod
    def from_published(
        cls, arrays: Mapping[str, Any], config: MemoryConfig, table: ValueTable | None = None
    ) -> "MemoryLayer":
        """A layer with the weights of the published code (facebookresearch/memory).

        Args:
          arrays: PyTorch-layout arrays by their published names: `keys`, `values.weight`,
            `query_proj.query_mlps.0.{weight,bias}`, `value_proj.{weight,bias}` and, with a gate,
            `swilu_projection.{weight,bias}`; each may carry the prefix `param/`.
          config: sizes and options.
          table: of another layer, to share in place of `values.weight`.

        Raises:
          InputError: for an array that is missing or has another shape than the configuration says,
            and for weights that the configuration has no place for, such as a gate's.
        """
        layer = cls(config, table=table, rngs=nnx.Rngs(0))
        if table is None:
            values = layer.table.values
            values[...] = _published(arrays, "values.weight", values).astype(values.dtype)
        layer.sub_keys[...] = _published(arrays, "keys", layer.sub_keys)
        for name, linear in (
            ("query_proj.query_mlps.0", layer.query),
            ("value_proj", layer.output),
            ("swilu_projection", layer.gate),
        ):
            if linear is None:
                if _find(arrays, f"{name}.weight") is not None:
                    raise InputError(f"the published {name!r} has no place in this configuration")
                continue
            for part, param in (("weight", linear.kernel), ("bias", linear.bias)):
                if param is not None:
                    param[...] = _published(arrays, f"{name}.{part}", param)
        return layer


def _published(arrays: Mapping[str, Any], name: str, wanted: nnx.Param) -> jax.Array:
    """The array of that name in the shape of `wanted`; PyTorch's [out, in] is transposed."""
    found = _find(arrays, name)
    if found is None:
        raise InputError(f"the published array {name!r} is missing")
    array = np.asarray(found, np.float32)
    if name == "keys" and array.size == math.prod(wanted.shape):
        array = array.reshape(wanted.shape)
    elif array.ndim == 2 and name != "values.weight":
        array = array.T
    if array.shape != wanted.shape:
        raise InputError(
            f"the published array {name!r} has shape {np.shape(found)}, "
            f"which does not give the {wanted.shape} of the configuration"
        )
    return jnp.asarray(array)


def _find(arrays: Mapping[str, Any], name: str) -> Any | None:
    return arrays.get(name, arrays.get(f"param/{name}"))


def _unit(vectors: jax.Array) -> jax.Array:
    """Vectors of length 1 along the last axis; a zero vector stays zero."""
    squares = jnp.sum(vectors * vectors, axis=-1, keepdims=True)
    return vectors * jax.lax.rsqrt(jnp.maximum(squares, 1e-12))
