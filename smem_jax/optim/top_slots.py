"""Restricts updates of value tables to slots that a batch reads much and ordinary text little."""

from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from smem_jax.array_checks import (
    indices_below,
    integers,
    not_negative,
    same_shape,
    unsharded,
)
from smem_jax.errors import InputError
from smem_jax.optim.tables import (
    Path,
    by_path,
    check_params,
    check_rows,
    check_same_tables,
    like,
    names,
    owner,
    text,
)
from smem_jax.scores import background_total, check_documents
from smem_jax.slots import (
    Mode,
    Selection,
    check_mode,
    check_top_t,
    select_read_slots,
    slot_scores,
    top_slots,
)

_Others = Literal["zero", "keep"]


class MaskByTopSlotsState(NamedTuple):
    """What `mask_by_top_slots` remembers; the trees have one entry for each value table.

    Attributes:
      document_frequency: tree of int32 [num_slots], background batches that read each slot.
      num_documents: int32 scalar, background batches in all.
      selection: tree of `smem_jax.slots.Selection`, the slots chosen last; none before the first
        update.
      step: int32 scalar, updates so far.
      background_total: tree of float32 scalars, what mode 'kl' needs to know of
        `document_frequency` (see `smem_jax.scores.background_total`); None in the other modes.
    """

    document_frequency: Any
    num_documents: jax.Array
    selection: Any
    step: jax.Array
    background_total: Any


def mask_by_top_slots(
    top_t: Any,
    document_frequency: Any,
    num_documents: ArrayLike,
    *,
    others: _Others = "zero",
    mode: Mode = "tf_idf",
    seed: int = 0,
    max_document_frequency: int | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Keeps the updates of the top-t slots of each value table and zeroes those of all other slots.

    The score of a slot is the TF-IDF of sparse memory finetuning (arXiv 2510.15103), see
    `smem_jax.scores.tf_idf`, unless `mode` says otherwise. Ties go to the lower slot; only slots
    that were read are chosen, so fewer than `top_t` where fewer were read. Let it stand **last in a
    chain**: momentum and weight decay then cannot leak into frozen rows. The zeros are negative
    zeros, since `-0.0 + 0.0` would flip the sign bit of a frozen weight: what is not selected keeps
    every bit.

    `update` takes one more argument, `slot_counts`, with one array for each table:

    - of rank 1: the reads of each slot, [num_slots], of any real dtype, such as
      `smem_jax.slots.access_counts` returns, which can leave out padding;
    - of rank 2 or more: the slot numbers read, integers [..., top_k], each of which counts once.
      Selection then costs nothing that grows with num_slots.

    `document_frequency`, `slot_counts` and a `top_t` for each table are trees nested like the
    parameters, as far down as to the tables; whatever is None or missing in them is no table. Only
    the names (keys, attributes, positions) along the way have to agree, not the types of the
    containers. An entry above several arrays of num_slots rows selects the same slots in each.

    Args:
      top_t: slots to keep in each table, one integer for all tables or a tree of them. Mode 'read'
        keeps however many were read.
      document_frequency: tree of integers [num_slots], background batches that read each slot.
      num_documents: background batches in all.
      others: what happens to the updates of parameters that are no table: 'zero' or 'keep'.
      mode: 'tf_idf', 'tf', 'kl', 'random' or 'read', as for `smem_jax.slots.slot_scores`.
      seed: of the 'random' mode, which chooses anew at each update; an integer, or a traced one
        where the transformation is made within `jax.vmap` over seeds.
      max_document_frequency: slots that more background batches read are never chosen, as for
        `smem_jax.slots.slot_scores`; None for no limit.

    Returns:
      An optax `GradientTransformationExtraArgs`.

    Raises:
      InputError: a ValueError, for trees that do not fit each other or the parameters, for top_t
        above num_slots, and for the values that `smem_jax.slots` refuses.

    Example:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> from smem_jax.optim import mask_by_top_slots
      >>> params = {'values': jnp.zeros((4, 2)), 'bias': jnp.zeros(2)}
      >>> frequency = {'values': jnp.array([9, 0, 0, 5])}
      >>> optimizer = optax.chain(
      ...     optax.sgd(1.0), mask_by_top_slots(1, frequency, num_documents=9))
      >>> state = optimizer.init(params)
      >>> grads = {'values': -jnp.ones((4, 2)), 'bias': -jnp.ones(2)}
      >>> counts = {'values': jnp.array([8, 1, 3, 8])}
      >>> updates, state = optimizer.update(grads, state, params, slot_counts=counts)
      >>> params = optax.apply_updates(params, updates)
      >>> print(params['values'])  # slot 3 is read more than slot 2, but ordinary text reads it too
      [[0. 0.]
       [0. 0.]
       [1. 1.]
       [0. 0.]]
      >>> print(params['bias'])
      [0. 0.]

    Within `optax.MultiSteps`, the counts of the last mini-step decide: pass it the sum of the
    counts over all mini-steps. Within `optax.partition`, pass the counts of all tables; where
    several masks share them out, give each the frequencies of all tables. Tables may be sharded.
    The folder `examples` has a file each for Flax NNX, Flax Linen, Equinox and Haiku.

    .. seealso::
      :func:`optax.masked`, :func:`optax.freeze` : For masks that are known in advance.
    """
    check_mode(mode)
    if others not in get_args(_Others):
        raise InputError(f"others={others!r}; 'zero' or 'keep' is right")
    frequencies = by_path(document_frequency)
    if not frequencies:
        raise InputError("document_frequency has no arrays; one for each value table is right")
    sizes = _sizes(top_t, frequencies)
    for path, frequency in frequencies.items():
        name = f"document_frequency{text(path)}"
        check_documents(integers(name, frequency, ndim=1), num_documents, name)
        check_top_t(sizes[path], jnp.size(frequency))
    if mode == "read":
        sizes = {path: jnp.size(frequency) for path, frequency in frequencies.items()}

    def init_fn(params: optax.Params) -> MaskByTopSlotsState:
        check_params(params, frequencies)
        return MaskByTopSlotsState(
            # Copies, since a caller may donate the state.
            document_frequency=jax.tree.map(
                lambda frequency: jnp.array(frequency, jnp.int32), document_frequency
            ),
            num_documents=jnp.array(num_documents, jnp.int32),
            selection=like(
                document_frequency,
                [_nothing(sizes[path], jnp.size(array)) for path, array in frequencies.items()],
            ),
            step=jnp.zeros([], jnp.int32),
            background_total=(
                jax.tree.map(background_total, document_frequency) if mode == "kl" else None
            ),
        )

    def update_fn(
        updates: optax.Updates,
        state: MaskByTopSlotsState,
        params: optax.Params | None = None,
        *,
        slot_counts: Any,
        **extra_args: Any,
    ) -> tuple[optax.Updates, MaskByTopSlotsState]:
        del params, extra_args
        counts = by_path(slot_counts)
        check_same_tables("slot_counts", counts, frequencies)
        totals = by_path(state.background_total)
        selections = {}
        for number, (path, frequency) in enumerate(by_path(state.document_frequency).items()):
            key = _key(seed, number, state.step) if mode == "random" else None
            selections[path] = _select(
                path,
                counts[path],
                frequency,
                state.num_documents,
                sizes[path],
                mode,
                key,
                totals.get(path),
                max_document_frequency,
            )
        new_state = state._replace(
            selection=like(state.document_frequency, list(selections.values())),
            step=optax.safe_increment(state.step),
        )

        def keep(path: Path, update: jax.Array) -> jax.Array:
            table = owner(names(path), selections)
            if table is not None:
                check_rows("updates", path, update, table, frequencies)
                return _keep_rows(update, selections[table].slots)
            return update if others == "keep" else jnp.full_like(update, -0.0)

        return jax.tree_util.tree_map_with_path(keep, updates), new_state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _nothing(top_t: int, num_slots: int) -> Selection:
    return Selection(jnp.full(top_t, num_slots, jnp.int32), jnp.zeros(top_t, bool))


def _key(seed: int, table: int, step: jax.Array) -> jax.Array:
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), table), step)


def _select(
    path: Path,
    counts: ArrayLike,
    frequency: jax.Array,
    num_documents: jax.Array,
    top_t: int,
    mode: Mode,
    key: jax.Array | None,
    total: jax.Array | None,
    limit: int | None,
) -> Selection:
    name = f"slot_counts{text(path)}"
    frequency = unsharded(frequency)
    if jnp.ndim(counts) >= 2:
        indices = indices_below(name, counts, frequency.shape[0])
        return select_read_slots(
            indices, frequency, num_documents, top_t, None, mode, key, total, limit
        )
    counts = unsharded(not_negative(name, same_shape(name, counts, frequency)))
    scores = slot_scores(counts, frequency, num_documents, mode, key, None, total, limit)
    return top_slots(scores, counts, top_t)


def _keep_rows(update: jax.Array, slots: jax.Array) -> jax.Array:
    chosen = jnp.zeros(update.shape[0], bool).at[slots].set(True, mode="drop")
    return jnp.where(chosen.reshape(-1, *[1] * (update.ndim - 1)), update, -0.0)


def _sizes(top_t: Any, tables: dict[Path, Any]) -> dict[Path, int]:
    sizes = by_path(top_t)
    if list(sizes) == [()]:
        return dict.fromkeys(tables, sizes[()])
    check_same_tables("top_t", sizes, tables)
    return sizes
