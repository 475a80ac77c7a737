"""Trees with one entry for each value table, beside the tree of parameters that holds the tables.

Entries are matched with parameters by the names along the way, so that a plain dictionary fits a
Flax state or an Equinox module too.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from smem_jax.errors import InputError

Path = tuple[Any, ...]


def names(path: Path) -> Path:
    """A key path without the types of its containers: ('memory', 0, 'values')."""
    parts = ("key", "name", "idx")
    return tuple(next(getattr(key, part) for part in parts if hasattr(key, part)) for key in path)


def by_path(tree: Any) -> dict[Path, Any]:
    """The leaves of a tree by their names."""
    return {names(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def like(tree: Any, leaves: list[Any]) -> Any:
    """A tree of the structure of `tree` with other leaves."""
    return jax.tree.unflatten(jax.tree.structure(tree), leaves)


def text(path: Path) -> str:
    """How an error message writes a path: ['memory']['values']."""
    return "".join(f"[{name!r}]" for name in path)


def owner(path: Path, tables: dict[Path, Any]) -> Path | None:
    """The entry of `tables` at or above `path`."""
    ends = range(len(path) + 1)
    return next((path[:end] for end in ends if path[:end] in tables), None)


def check_same_tables(name: str, given: dict[Path, Any], tables: dict[Path, Any]) -> None:
    """Raises InputError unless both have the same entries."""
    for path in sorted(given.keys() ^ tables.keys(), key=str):
        missing, having = (
            (name, "document_frequency") if path in tables else ("document_frequency", name)
        )
        raise InputError(
            f"{missing}{text(path)} is None or missing, but {having} has it; "
            "one entry for each value table in both is right"
        )


def check_rows(
    name: str, path: Path, array: Any, table: Path, frequencies: dict[Path, Any]
) -> None:
    """Raises InputError unless the array at a key path of tree `name` has a row for each slot."""
    num_slots = jnp.size(frequencies[table])
    if jnp.shape(array)[:1] != (num_slots,):
        raise InputError(
            f"{name}{text(names(path))} has shape {jnp.shape(array)}; {num_slots} rows, as "
            f"document_frequency{text(table)} has slots, are right"
        )


def check_params(params: Any, frequencies: dict[Path, Any]) -> None:
    """Raises InputError unless each frequency stands at a table of its size, or at a masked one."""
    leaves = jax.tree_util.tree_leaves_with_path(
        params, is_leaf=lambda node: isinstance(node, optax.MaskedNode)
    )
    if not leaves:  # the placeholder of optax.tree_map_params
        return
    found = set()
    for key_path, leaf in leaves:
        path = names(key_path)
        if isinstance(leaf, optax.MaskedNode):
            found |= {table for table in frequencies if path[: len(table)] == table[: len(path)]}
            continue
        table = owner(path, frequencies)
        if table is None:
            continue
        found.add(table)
        check_rows("params", key_path, leaf, table, frequencies)
    for table in frequencies.keys() - found:
        some = ", ".join(text(names(path)) or "the root" for path, _ in leaves[:8])
        raise InputError(
            f"document_frequency{text(table)} belongs to no parameter; one of {some} is right"
        )
