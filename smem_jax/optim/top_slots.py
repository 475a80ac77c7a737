"""Restricts updates of value tables to the slots that a batch reads much and ordinary text little."""

from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from smem_jax.errors import InputError
from smem_jax.slots import (
    Mode,
    Selection,
    check_mode,
    check_top_t,
    idf,
    select_read_slots,
    slot_scores,
    top_slots,
)

_Path = tuple[Any, ...]
_Others = Literal["zero", "keep"]


class MaskByTopSlotsState(NamedTuple):
    """What `mask_by_top_slots` remembers; the trees have one entry for each value table.

    Attributes:
      document_frequency: tree of int32 [num_slots], background batches that read each slot.
      num_documents: int32 scalar, background batches in all.
      selection: tree of `smem_jax.slots.Selection`, the slots chosen last; none before the first
        update.
      count: int32 scalar, updates so far.
    """

    document_frequency: Any
    num_documents: jax.Array
    selection: Any
    count: jax.Array


def mask_by_top_slots(
    top_t: Any,
    document_frequency: Any,
    num_documents: ArrayLike,
    *,
    others: _Others = "zero",
    mode: Mode = "tf_idf",
    seed: int = 0,
) -> optax.GradientTransformationExtraArgs:
    """Keeps the updates of the top-t slots of each value table and zeroes those of all other slots.

    The score of a slot is the TF-IDF of sparse memory finetuning (arXiv 2510.15103), see
    `smem_jax.slots.tf_idf`. Ties go to the lower slot; only slots that were read are chosen, so
    fewer than `top_t` where fewer were read. Let it stand **last in a chain**: momentum and weight
    decay then cannot leak into frozen rows. The zeros are negative zeros, since `-0.0 + 0.0` would
    flip the sign bit of a frozen weight: what is not selected keeps every bit.

    `update` takes one more argument, `slot_counts`, with one array for each table:

    - of rank 1: the reads of each slot, [num_slots], of any real dtype (`smem_jax.slots.access_counts`,
      which leaves out padding);
    - of rank 2 or more: the slot numbers read, integers [..., top_k], each of which counts once.
      Selection then costs nothing that grows with num_slots.

    `document_frequency`, `slot_counts` and a `top_t` for each table are trees nested like the
    parameters, as far down as to the tables; whatever is None or missing in them is no table. Only
    the names (keys, attributes, positions) along the way have to agree, not the types of the
    containers. An entry above several arrays, all with num_slots rows, selects the same slots for each.

    Args:
      top_t: slots to keep in each table, one integer for all tables or a tree of them.
      document_frequency: tree of integers [num_slots], background batches that read each slot.
      num_documents: background batches in all.
      others: what happens to the updates of parameters that are no table: 'zero' or 'keep'.
      mode: 'tf_idf', 'tf' or 'random', as for `smem_jax.slots.slot_scores`.
      seed: of the 'random' mode, which chooses anew at each update.

    Returns:
      An optax `GradientTransformationExtraArgs`.

    Raises:
      InputError: a ValueError, for trees that do not fit each other or the parameters, for top_t above
        num_slots, and for the values that `smem_jax.slots` refuses.

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
    counts over all mini-steps. Within `optax.partition`, pass the counts of all tables.

    .. seealso::
      :func:`optax.masked`, :func:`optax.freeze` : For masks that are known in advance.
    """
    check_mode(mode)
    if others not in get_args(_Others):
        raise InputError(f"others={others!r}; 'zero' or 'keep' is right")
    frequencies = _by_path(document_frequency)
    if not frequencies:
        raise InputError("document_frequency has no arrays; one for each value table is right")
    sizes = _sizes(top_t, frequencies)
    for path, frequency in frequencies.items():
        if jnp.ndim(frequency) != 1:
            raise InputError(
                f"document_frequency{_text(path)} has shape {jnp.shape(frequency)}; "
                "[num_slots] is right"
            )
        check_top_t(sizes[path], jnp.size(frequency))
        idf(frequency, num_documents)  # for its checks

    def init_fn(params: optax.Params) -> MaskByTopSlotsState:
        _check_params(params, frequencies)
        return MaskByTopSlotsState(
            document_frequency=jax.tree.map(
                lambda frequency: jnp.asarray(frequency, jnp.int32), document_frequency
            ),
            num_documents=jnp.asarray(num_documents, jnp.int32),
            selection=_like(
                document_frequency,
                [
                    Selection(jnp.full(sizes[path], jnp.size(array)), jnp.zeros(sizes[path], bool))
                    for path, array in frequencies.items()
                ],
            ),
            count=jnp.zeros([], jnp.int32),
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
        counts = _by_path(slot_counts)
        _check_same_tables("slot_counts", counts, frequencies)
        selections = {}
        for number, (path, frequency) in enumerate(_by_path(state.document_frequency).items()):
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), number), state.count)
            selections[path] = _select(
                counts[path],
                frequency,
                state.num_documents,
                sizes[path],
                mode,
                key if mode == "random" else None,
            )
        new_state = state._replace(
            selection=_like(state.document_frequency, list(selections.values())),
            count=optax.safe_increment(state.count),
        )

        def keep(path: _Path, update: jax.Array) -> jax.Array:
            table = _owner(_names(path), selections)
            if table is not None:
                return _keep_rows(update, selections[table].slots)
            return update if others == "keep" else jnp.full_like(update, -0.0)

        return jax.tree_util.tree_map_with_path(keep, updates), new_state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _select(
    counts: ArrayLike,
    frequency: jax.Array,
    num_documents: jax.Array,
    top_t: int,
    mode: Mode,
    key: jax.Array | None,
) -> Selection:
    if jnp.ndim(counts) >= 2:
        return select_read_slots(counts, frequency, num_documents, top_t, mode=mode, key=key)
    scores = slot_scores(counts, frequency, num_documents, mode, key)
    return top_slots(scores, counts, top_t)


def _keep_rows(update: jax.Array, slots: jax.Array) -> jax.Array:
    chosen = jnp.zeros(update.shape[0], bool).at[slots].set(True, mode="drop")
    return jnp.where(chosen.reshape(-1, *[1] * (update.ndim - 1)), update, -0.0)


def _names(path: _Path) -> _Path:
    """A key path without the types of its containers: ('memory', 0, 'values')."""
    parts = ("key", "name", "idx")
    return tuple(next(getattr(key, part) for part in parts if hasattr(key, part)) for key in path)


def _by_path(tree: Any) -> dict[_Path, Any]:
    return {_names(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _like(tree: Any, leaves: list[Any]) -> Any:
    return jax.tree.unflatten(jax.tree.structure(tree), leaves)


def _text(path: _Path) -> str:
    return "".join(f"[{name!r}]" for name in path)


def _owner(path: _Path, tables: dict[_Path, Any]) -> _Path | None:
    """The entry of `tables` at or above `path`."""
    ends = range(len(path) + 1)
    return next((path[:end] for end in ends if path[:end] in tables), None)


def _sizes(top_t: Any, tables: dict[_Path, Any]) -> dict[_Path, int]:
    sizes = _by_path(top_t)
    if list(sizes) == [()]:
        return dict.fromkeys(tables, sizes[()])
    _check_same_tables("top_t", sizes, tables)
    return sizes


def _check_same_tables(name: str, given: dict[_Path, Any], tables: dict[_Path, Any]) -> None:
    for path in given.keys() ^ tables.keys():
        missing, having = (
            (name, "document_frequency") if path in tables else ("document_frequency", name)
        )
        raise InputError(
            f"{missing}{_text(path)} is None or missing, but {having} has it; "
            "one entry for each value table in both is right"
        )


def _check_params(params: Any, frequencies: dict[_Path, Any]) -> None:
    """Each frequency stands at a table of its size, unless optax has masked that part of the tree."""
    leaves = jax.tree_util.tree_leaves_with_path(
        params, is_leaf=lambda node: isinstance(node, optax.MaskedNode)
    )
    if not leaves:  # the placeholder of optax.tree_map_params
        return
    found = set()
    for key_path, leaf in leaves:
        path = _names(key_path)
        if isinstance(leaf, optax.MaskedNode):
            found |= {table for table in frequencies if path[: len(table)] == table[: len(path)]}
            continue
        table = _owner(path, frequencies)
        if table is None:
            continue
        found.add(table)
        num_slots = jnp.size(frequencies[table])
        if jnp.shape(leaf)[:1] != (num_slots,):
            raise InputError(
                f"params{_text(path)} has shape {jnp.shape(leaf)}; {num_slots} rows, as "
                f"document_frequency{_text(table)} has slots, are right"
            )
    for table in frequencies.keys() - found:
        raise InputError(
            f"document_frequency{_text(table)} belongs to no parameter; "
            f"one of {', '.join(_text(_names(path)) or 'the root' for path, _ in leaves[:8])} is right"
        )
