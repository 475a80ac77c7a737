"""How arrays lie on many devices: a mesh, and rules from the names of axes to the axes of the mesh.

Modules name the axes of what they hold ('slots', 'value', 'embed', ...) and know no mesh. A
configuration says which axes of the mesh split each name; `use` makes a mesh and its rules current,
in the way of Flax's `logical_axis_rules`, and what follows finds them there. Axes of the mesh:

- 'data': every device has all parameters and a share of the batch;
- 'fsdp': parameters are split too, and gathered where they are used;
- 'tensor': heads, feed-forward width and vocabulary are split, each device has the whole batch;
- 'memory': the value tables are split over devices that have different shares of the batch, so
  that reads and sums of rows are exchanged ('memory parallel' of arXiv 2412.09764).
"""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import jax
from flax import nnx
from flax.core import spmd
from jax.experimental import mesh_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from smem_jax.errors import InputError
from smem_jax.table_layout import TableLayout

_Module = TypeVar("_Module", bound=nnx.Module)

MESH_AXES = ("data", "fsdp", "tensor", "memory")
DEFAULT_RULES: dict[str, tuple[str, ...]] = {
    "batch": ("data", "fsdp", "memory"),
    "embed": ("fsdp", "memory"),
    "heads": ("tensor",),
    "ffn": ("tensor",),
    "vocab": ("tensor",),
    "slots": (),
    "value": ("memory",),
}


def make_mesh(sizes: Mapping[str, int], devices: Sequence[Any]) -> jax.sharding.Mesh:
    """A mesh of all `devices` with the axes of `MESH_AXES`.

    Args:
      sizes: devices along each axis; one may be -1, for all that are left.
      devices: real ones, or those of a topology that programs are only compiled for.

    Raises:
      InputError: for sizes whose product is not the number of devices.
    """
    named = {axis: sizes.get(axis, 1) for axis in MESH_AXES}
    free = [axis for axis, size in named.items() if size == -1]
    bad = [size for size in named.values() if size < 1 and size != -1]
    fixed = math.prod(size for size in named.values() if size != -1)
    shown = ", ".join(f"{axis}={size}" for axis, size in named.items())
    if bad or len(free) > 1:
        raise InputError(f"mesh {shown}: sizes of at least 1 are right, and -1 for one at most")
    if free and len(devices) % fixed == 0:
        named[free[0]] = len(devices) // fixed
    if math.prod(named.values()) != len(devices):
        raise InputError(
            f"mesh {shown}: the product of the sizes must be the {len(devices)} devices"
        )
    # So that devices along an axis are near each other; an axis may be a part of one of the torus.
    placed = mesh_utils.create_device_mesh(
        tuple(named.values()), list(devices), allow_split_physical_axes=True
    )
    return jax.sharding.Mesh(placed, MESH_AXES, axis_types=(AxisType.Auto,) * len(MESH_AXES))


def check_rules(rules: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """The rules with those of `DEFAULT_RULES` that they leave out.

    Raises InputError for a name or a mesh axis that does not exist, and for tables whose columns
    are split first by an axis that splits the batch and then by one that does not.
    """
    for name, axes in rules.items():
        if name not in DEFAULT_RULES:
            raise InputError(f"mesh.rules.{name}: one of {', '.join(DEFAULT_RULES)} is right")
        wrong = [axis for axis in axes if axis not in MESH_AXES]
        if wrong or len(set(axes)) != len(axes):
            raise InputError(
                f"mesh.rules.{name}={tuple(axes)}: different ones of {', '.join(MESH_AXES)} are "
                "right"
            )
    whole = {name: tuple(rules.get(name, axes)) for name, axes in DEFAULT_RULES.items()}
    in_batch = [axis in whole["batch"] for axis in whole["value"]]
    if in_batch != sorted(in_batch):
        raise InputError(
            f"mesh.rules.value={whole['value']}: axes of mesh.rules.batch={whole['batch']} come "
            "last"
        )
    if set(whole["slots"]) & set(whole["value"]):
        raise InputError(
            f"mesh.rules.slots={whole['slots']} and mesh.rules.value={whole['value']} split one "
            "table; different axes are right"
        )
    return whole


def axes(*names: str | None) -> dict[str, Any]:
    """Metadata of an `nnx.Param` whose axes have these names."""
    return {"out_sharding": names, "eager_sharding": False}


@contextlib.contextmanager
def use(mesh: jax.sharding.Mesh, rules: Mapping[str, Sequence[str]]) -> Iterator[None]:
    """Makes a mesh and rules current; what is traced within keeps to them."""
    pairs = tuple((name, tuple(axes)) for name, axes in rules.items())
    with jax.set_mesh(mesh), spmd.logical_axis_rules(pairs):
        yield


def spec(*names: str | None) -> PartitionSpec:
    """How an array with axes of these names lies on the current mesh."""
    rules = dict(spmd.get_logical_axis_rules())
    return PartitionSpec(*(rules.get(name, ()) if name else None for name in names))


def constrain(array: jax.Array, *names: str | None) -> jax.Array:
    """The array, laid out by the current rules; as it is where there are none."""
    if not spmd.get_logical_axis_rules():
        return array
    return jax.lax.with_sharding_constraint(array, spec(*names))


def of_all(array: jax.Array) -> jax.Array:
    """An array that is split by its leading axis 'batch', whole on every device.

    Said as what it is: of a mere constraint the compiler may make an all-reduce of zeros, which
    sends twice as much.
    """
    layout = table_layout()
    if layout is None or not layout.batch:
        return array
    return jax.shard_map(
        lambda part: jax.lax.all_gather(part, layout.batch, axis=0, tiled=True),
        in_specs=PartitionSpec(layout.batch),
        out_specs=PartitionSpec(),
        check_vma=False,
    )(array)


def gathered(module: _Module, dtype: str) -> _Module:
    """The module with its parameters whole along 'embed', as it is used; for fully sharded ones.

    Said explicitly, since the compiler might rather move activations, which are larger. All but a
    memory layer's are rounded to `dtype` before they travel.
    """
    if not spmd.get_logical_axis_rules():
        return module
    graphdef, state = nnx.split(module)

    def whole(path, variable: nnx.Variable) -> nnx.Variable:
        names = variable.get_metadata().get("out_sharding") or ()
        if "embed" not in names:
            return variable
        array = variable[...] if path[0].key == "memory" else variable[...].astype(dtype)
        return variable.replace(constrain(array, *(n if n != "embed" else None for n in names)))

    is_variable = lambda leaf: isinstance(leaf, nnx.Variable)  # noqa: E731
    return nnx.merge(graphdef, jax.tree_util.tree_map_with_path(whole, state, is_leaf=is_variable))


def table_layout() -> TableLayout | None:
    """How a value table lies by the current rules; None where nothing is split."""
    rules = dict(spmd.get_logical_axis_rules())
    mesh = jax.sharding.get_abstract_mesh()
    if not rules or mesh.empty or mesh.size == 1:
        return None
    if all(kind == AxisType.Manual for kind in mesh.axis_types):
        return None  # within a shard_map each device has its part already
    return TableLayout(*(tuple(rules[name] or ()) for name in TableLayout._fields))


def shardings(state: Any, mesh: jax.sharding.Mesh) -> Any:
    """The sharding of each array of an `nnx.State`, by the current rules.

    Raises InputError, with the name of the array, where the mesh does not divide its shape.
    """
    specs = nnx.get_partition_spec(state)

    def named(path, array, found: PartitionSpec) -> NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value")
        used = [axis for entry in found for axis in _mesh_axes(entry)]
        if len(set(used)) < len(used):
            raise InputError(
                f"mesh.rules: two axes of {name} would be split by one mesh axis, {tuple(found)}"
            )
        check_divides(mesh, found, array.shape, name)
        return NamedSharding(mesh, found)

    return jax.tree_util.tree_map_with_path(named, state, specs)


def check_divides(
    mesh: jax.sharding.Mesh, found: PartitionSpec, shape: Sequence[int], name: str
) -> None:
    """Raises InputError unless every axis of `shape` can be split as `found` says."""
    for number, (size, entry) in enumerate(zip(shape, found, strict=False)):
        split_by = _mesh_axes(entry)
        parts = math.prod(mesh.shape[axis] for axis in split_by)
        if size % parts:
            raise InputError(
                f"{name} of shape {tuple(shape)}: axis {number} cannot be split over the {parts} "
                f"devices of mesh axes {', '.join(split_by)}"
            )


def _mesh_axes(entry: Any) -> tuple[str, ...]:
    """Those of one entry of a PartitionSpec."""
    return (entry,) if isinstance(entry, str) else tuple(entry or ())
