"""Optimizers of a few chosen rows of a large table: memory traffic and work of those rows alone.

The gradient is the block [top_t, value_dim] of the chosen rows, such as
`smem_jax.kernels.lookup.lookup_with_delta` gives; optimizer state lies beside the table, a row for
each of its rows, and is read and written at the chosen ones. What happens to the state of a row
that is not chosen for some steps is a choice:

- 'lazy': nothing. A row is a parameter of its own whose clock stands still meanwhile, so its first
  update is as large as that of a fresh parameter, however late it comes. The default, since facts
  come one after another: with running clocks Adam's bias corrections have worn off by the time a
  row is first chosen, and its first update is (1 - b1) / sqrt(1 - b2) times the learning rate, 3.2
  times for the usual 0.9 and 0.999. What it costs: momentum of an old fact is applied in full.
- 'catch_up': the moments decay by the steps missed, b ** missed, and the step count runs on. This
  is what the dense optimizer does with gradients of 0, so it equals
  `optax.chain(mask, adam, mask)` with `mask = mask_by_top_slots(...)`.

Weight decay acts on chosen rows only, in the steps they are chosen in: a frozen row keeps its bits.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax

from smem_jax import bits
from smem_jax.errors import InputError

Missed = Literal["lazy", "catch_up"]


class RowState(NamedTuple):
    """State of a row optimizer.

    Attributes:
      rows: the state of the inner transformation for each row; leaves [num_slots, ...].
      last: int32 [num_slots], the step of each row's last update; None where no one catches up.
      step: int32 scalar, updates so far.
    """

    rows: Any
    last: jax.Array | None
    step: jax.Array


class RowOptimizer(NamedTuple):
    """Two pure functions.

    `init(values)` gives the `RowState` of a table [num_slots, value_dim].

    `update(values, state, slots, gradient, learning_rate)` gives the table and the state after one
    step. `slots` is int32 [top_t], distinct and not negative; entries of num_slots or more stand
    for nothing, as in `smem_jax.slots.Selection`. `gradient` is float32 [top_t, value_dim],
    `learning_rate` a float or a float32 scalar. Computes in float32 and
    rounds to the dtype of the table. Donate `values` and `state`, and nothing of their size is
    copied, but for a table of bfloat16 on a CPU: keep that as `smem_jax.bits`. Raises InputError
    for shapes that do not fit.
    """

    init: Callable[[jax.Array], RowState]
    update: Callable[..., tuple[jax.Array, RowState]]


def row_sgd(momentum: float = 0.0, missed: Missed = "lazy") -> RowOptimizer:
    """Stochastic gradient descent, the paper's choice for sparse memory finetuning (2510.15103).

    Args:
      momentum: decay of the accumulated gradient (`optax.trace`); 0 keeps no state.
      missed: what becomes of it in the steps in which a row is not chosen, see the module.

    Raises:
      InputError: for a momentum outside of [0, 1), and a `missed` that there is not.

    Example:
      >>> import jax.numpy as jnp
      >>> from smem_jax.optim import row_sgd
      >>> optimizer = row_sgd()
      >>> values = jnp.zeros((5, 2))
      >>> state = optimizer.init(values)
      >>> slots = jnp.array([1, 3, 5])  # 5 stands for nothing: this batch read two slots only
      >>> values, state = optimizer.update(values, state, slots, jnp.ones((3, 2)), 0.5)
      >>> print(values[:, 0])
      [ 0.  -0.5  0.  -0.5  0. ]

    .. seealso::
      :func:`smem_jax.optim.mask_by_top_slots` : The dense form, for any optax optimizer.
    """
    _check("momentum", momentum)

    def catch_up(state: optax.TraceState, steps: jax.Array) -> optax.TraceState:
        return optax.TraceState(state.trace * momentum**steps)

    wanted = _if_wanted(missed, catch_up)
    return by_row(optax.trace(momentum), wanted) if momentum else by_row(optax.identity())


def row_adam(
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    missed: Missed = "lazy",
) -> RowOptimizer:
    """Adam (arXiv 1412.6980), or with weight decay AdamW (arXiv 1711.05101).

    Args:
      b1: decay of the mean of gradients.
      b2: decay of the mean of their squares.
      eps: added to the root of the latter.
      weight_decay: times the learning rate, the share by which a chosen row shrinks.
      missed: what becomes of the moments in the steps in which a row is not chosen, see the module.

    Raises:
      InputError: for a decay `b1` or `b2` outside of [0, 1), and a `missed` that there is not.
    """
    _check("b1", b1)
    _check("b2", b2)
    inner = optax.chain(
        optax.scale_by_adam(b1, b2, eps, mu_dtype=jnp.float32),
        optax.add_decayed_weights(weight_decay) if weight_decay else optax.identity(),
    )

    def catch_up(state: Any, steps: jax.Array) -> Any:
        adam, rest = state
        return (
            adam._replace(count=adam.count + steps, mu=adam.mu * b1**steps, nu=adam.nu * b2**steps),
            rest,
        )

    return by_row(inner, _if_wanted(missed, catch_up))


def by_row(
    inner: optax.GradientTransformation, catch_up: Callable[[Any, jax.Array], Any] | None = None
) -> RowOptimizer:
    """Any optax transformation with a state of its own for each row.

    Args:
      inner: without a learning rate, which `update` is given.
      catch_up: gives the state of a row after a number of steps (int32) in which it was not chosen;
        None leaves it as it was.
    """

    def init_fn(values: jax.Array) -> RowState:
        if jnp.ndim(values) != 2:
            raise InputError(
                f"values has shape {jnp.shape(values)}; [num_slots, value_dim] is right"
            )
        # Jitted, so that no float32 copy of the table is made for states that do not look at it.
        rows = jax.jit(lambda values: jax.vmap(inner.init)(bits.decode(values)))(values)
        last = jnp.zeros(values.shape[0], jnp.int32) if catch_up else None
        return RowState(rows, last, jnp.zeros((), jnp.int32))

    def update_fn(
        values: jax.Array,
        state: RowState,
        slots: jax.Array,
        gradient: jax.Array,
        learning_rate: jax.Array | float,
    ) -> tuple[jax.Array, RowState]:
        wanted = (*jnp.shape(slots), values.shape[1])
        if jnp.ndim(slots) != 1 or jnp.shape(gradient) != wanted:
            raise InputError(
                f"slots has shape {jnp.shape(slots)}, gradient {jnp.shape(gradient)}; "
                f"[top_t] and [top_t, {values.shape[1]}] are right"
            )

        def at_slots(array: jax.Array) -> jax.Array:
            return array.at[slots].get(mode="fill", fill_value=0)

        def put(array: jax.Array, rows: jax.Array) -> jax.Array:
            return array.at[slots].set(rows.astype(array.dtype), mode="drop")

        step = state.step + 1
        chosen, last = jax.tree.map(at_slots, state.rows), state.last
        if catch_up and last is not None:
            seen = at_slots(last)
            chosen = jax.vmap(catch_up)(chosen, step - 1 - seen)
            # The step itself, but written so that reading comes first: else XLA keeps a copy.
            last = put(last, jnp.maximum(seen, step))
        old = bits.decode(at_slots(values))
        direction, chosen = jax.vmap(inner.update)(gradient.astype(jnp.float32), chosen, old)
        values = put(values, bits.encode_like(old - learning_rate * direction, values))
        return values, RowState(jax.tree.map(put, state.rows, chosen), last, step)

    return RowOptimizer(init_fn, update_fn)


def _if_wanted(missed: Missed, catch_up: Callable) -> Callable | None:
    if missed not in get_args(Missed):
        raise InputError(f"missed={missed!r}; 'lazy' or 'catch_up' is right")
    return catch_up if missed == "catch_up" else None


def _check(name: str, decay: float) -> None:
    if not 0 <= decay < 1:
        raise InputError(f"{name}={decay}; at least 0 and below 1 is right")
