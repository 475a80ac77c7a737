"""Low-rank adapters on the linear layers of a transformer (LoRA, arXiv 2106.09685).

Each linear layer with kernel W [in, out] becomes W + alpha / rank * (a b), where `a` [in, rank] and
`b` [rank, out] are trained and W is not. `b` starts at zero, so nothing changes at first. Adapted
are all linear layers of attention and of the feed-forward networks, as in the comparison of
arXiv 2510.15103; not the embedding, the head, or a memory layer.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from smem_jax.errors import InputError
from smem_jax.models.transformer import Transformer
from smem_jax.sharding import axes

_IN_BLOCK = {"attention": ("query", "key", "value", "out"), "ffn": ("gate", "up", "down")}
TARGETS = tuple(name for names in _IN_BLOCK.values() for name in names)

# Where a linear layer is in a model: 'blocks', number of the block, 'attention' or 'ffn', target.
Place = tuple[str, int, str, str]


class LoRAParam(nnx.Param):
    """A trained parameter of an adapter: a type of its own, so that a filter finds it."""


class LoRALinear(nnx.Module):
    """base(x) + alpha / rank * (x a) b (arXiv 2106.09685, eq. 3).

    `a` float32 [in, rank] is uniform in +-1 / sqrt(in), as in the published code (Kaiming uniform
    with slope sqrt(5)); `b` float32 [rank, out] is zero.
    """

    def __init__(self, base: nnx.Linear, rank: int, alpha: float, *, rngs: nnx.Rngs):
        bound = base.in_features**-0.5
        a = jax.random.uniform(
            rngs.params(), (base.in_features, rank), jnp.float32, minval=-bound, maxval=bound
        )
        # On many devices an adapter is split as the kernel beside it.
        names = base.kernel.get_metadata().get("out_sharding") or (None, None)
        self.base = base
        self.rank, self.alpha = rank, alpha
        self.a = LoRAParam(a, **axes(names[0], None))
        self.b = LoRAParam(
            jnp.zeros((rank, base.out_features), jnp.float32), **axes(None, names[1])
        )

    @property
    def scale(self) -> float:
        """What the adapter's output is multiplied by."""
        return self.alpha / self.rank

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [..., in] to [..., out], in the dtype of the base layer's output."""
        out = self.base(x)
        low = x.astype(out.dtype) @ self.a[...].astype(out.dtype)
        return out + self.scale * (low @ self.b[...].astype(out.dtype))

    def merged(self) -> nnx.Linear:
        """The base layer with a b added to its kernel, which is changed in place."""
        change = jnp.matmul(self.a[...], self.b[...], precision=jax.lax.Precision.HIGHEST)
        kernel = self.base.kernel[...]
        self.base.kernel[...] = (kernel + self.scale * change).astype(kernel.dtype)
        return self.base


def add_lora(
    model: Transformer,
    rank: int,
    alpha: float,
    *,
    rngs: nnx.Rngs,
    targets: Sequence[str] = TARGETS,
) -> None:
    """Puts an adapter on the target layers of every block, in place; the logits stay as they were.

    Args:
      model: the transformer to change.
      rank: columns of `a` and rows of `b`, at least 1.
      alpha: the adapter's output is scaled by alpha / rank; above 0.
      rngs: its `params` stream draws every `a`.
      targets: names of linear layers, out of `TARGETS`.

    Raises:
      InputError: for a rank, alpha or target that is none, and for a model with adapters already.
    """
    if rank < 1:
        raise InputError(f"rank={rank} must be at least 1")
    if not alpha > 0:
        raise InputError(f"alpha={alpha} must be above 0")
    if not targets or any(name not in TARGETS for name in targets):
        raise InputError(
            f"targets={list(targets)} must be at least one of {', '.join(TARGETS)}, and no other"
        )
    check_has_none(model)
    for place, layer in list(layers(model)):
        if place[-1] in targets:
            put(model, place, LoRALinear(layer, rank, alpha, rngs=rngs))


def merge_lora(model: Transformer) -> None:
    """Adds every adapter to its kernel and takes it away, in place; the logits stay, but rounding.

    Raises InputError for a model without adapters.
    """
    check_has_lora(model)
    for place, layer in list(layers(model)):
        if isinstance(layer, LoRALinear):
            put(model, place, layer.merged())


def merged(model: Transformer) -> Transformer:
    """A model without adapters that says the same as `model`, which stays as it is.

    A forward pass of it costs less; it holds kernels of its own. A model without adapters is
    returned as it is.
    """
    if not has_lora(model):
        return model
    copy = nnx.clone(model)
    merge_lora(copy)
    return copy


def lora_state(model: Transformer) -> nnx.State:
    """The `a` and `b` of every adapter, as `nnx.update` takes them.

    Raises InputError for a model without adapters.
    """
    check_has_lora(model)
    return nnx.state(model, LoRAParam)


def has_lora(model: Transformer) -> bool:
    """Whether any layer of the model has an adapter."""
    return any(isinstance(layer, LoRALinear) for _, layer in layers(model))


def check_has_lora(model: Transformer) -> None:
    """Raises InputError for a model without adapters."""
    if not has_lora(model):
        raise InputError("the model has no LoRA adapters; add_lora puts them there")


def check_has_none(model: Transformer) -> None:
    """Raises InputError for a model with adapters."""
    if has_lora(model):
        raise InputError("the model has LoRA adapters already; merge_lora takes them away")


def layers(model: Transformer) -> Iterator[tuple[Place, Any]]:
    """All linear layers that can have an adapter, or have one; no memory layer among them."""
    for number, block in enumerate(model.blocks):
        for part, names in _IN_BLOCK.items():
            holder = getattr(block, part)
            if holder is not None:  # as a feed-forward network that a memory layer replaced
                for name in names:
                    yield ("blocks", number, part, name), getattr(holder, name)


def put(model: Transformer, place: Place, layer: nnx.Module) -> None:
    """Puts a layer, with or without adapter, where another one is."""
    _, number, part, name = place
    setattr(getattr(model.blocks[number], part), name, layer)
