"""The sharded program of a job: what its state is, how it lies on the devices, and its steps.

The same program is run by `smem train`, and compiled for machines that are not here by
`smem compile`.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from ml_collections import ConfigDict

from smem_jax import sharding
from smem_jax.data.packing import Rows
from smem_jax.errors import InputError
from smem_jax.train.pretrain import Pretraining
from smem_jax.train.sparse import SparseFinetuning

_OBJECTIVES: dict[str, Callable[[ConfigDict], Any]] = {
    "pretrain": Pretraining,
    "sparse": SparseFinetuning,
}
_AT_LEAST_ONE = (
    "data.seq_len",
    "data.num_shards",
    "background.batches",
    "train.steps",
    "train.batch_size",
    "train.checkpoint_every",
    "train.keep_checkpoints",
    "train.log_every",
    "train.evaluate_every",
)


class Program:
    """A job on a mesh of devices, real ones or those of a topology.

    Attributes:
      mesh, rules: how its arrays are split.
      objective: the functions of the job, `Pretraining` or `SparseFinetuning`.
      state: `jax.ShapeDtypeStruct` with its sharding for each array of the state.
      rows: the same for a batch.
      initial_state: of a key from `jax.random.key`; jitted, with the state sharded as it is made.
      step, count, slot_use: from a state, which is donated, and a batch to a state and metrics.
      held_out: from a state and a batch to its negative log-likelihood and its number of tokens.

    Raises InputError for a configuration that makes no sense or does not fit the devices.
    """

    def __init__(self, config: ConfigDict, devices: Sequence[jax.Device]):
        check(config)
        self.rules = sharding.check_rules(config.mesh.rules.to_dict())
        sizes = {axis: config.mesh[axis] for axis in sharding.MESH_AXES}
        self.mesh = sharding.make_mesh(sizes, devices)
        self.objective = objective_of(config)
        self.state = self.state_of(self.objective)
        layout = jax.tree.map(lambda array: array.sharding, self.state)
        with self.use():
            batch = NamedSharding(self.mesh, sharding.spec("batch"))
        shape = (config.train.batch_size, config.data.seq_len)
        sharding.check_divides(self.mesh, batch.spec, shape, "train.batch_size: a batch")
        like = jax.ShapeDtypeStruct(shape, jnp.int32, sharding=batch)
        self.rows = Rows(like, like, like)
        self.initial_state = jax.jit(self.objective.initial_state, out_shardings=layout)
        whole = NamedSharding(self.mesh, jax.P())

        def jitted(function: Callable) -> Any:
            return jax.jit(function, donate_argnums=0, out_shardings=(layout, whole))

        self.step = jitted(self.objective.step)
        self.count = jitted(getattr(self.objective, "count", _nothing))
        self.slot_use = jitted(getattr(self.objective, "slot_use", _nothing))
        self.held_out = jax.jit(getattr(self.objective, "held_out", _nothing), out_shardings=whole)

    def state_of(self, objective: Any) -> Any:
        """`state` for another objective on the same mesh."""
        with self.use():
            shapes = jax.eval_shape(lambda: objective.initial_state(jax.random.key(0)))
            return jax.tree.map(
                lambda array, place: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=place),
                shapes,
                sharding.shardings(shapes, self.mesh),
            )

    @contextlib.contextmanager
    def use(self) -> Iterator[None]:
        """Makes the mesh and its rules current; all functions of the program need that."""
        with sharding.use(self.mesh, self.rules):
            yield

    def lower_step(self) -> jax.stages.Lowered:
        """The step lowered for its devices, from shapes alone."""
        with self.use():
            return self.step.trace(self.state, self.rows).lower()

    @functools.cached_property
    def local_rows(self) -> np.ndarray:
        """Numbers, ascending, of the rows of a batch that the devices of this process hold.

        Those of several processes are the same ones where a mesh axis that splits no batch, such as
        'tensor', reaches over them.
        """
        like = self.rows.tokens
        parts = like.sharding.addressable_devices_indices_map(like.shape).values()
        numbers = np.arange(like.shape[0])
        return np.unique(np.concatenate([numbers[rows] for rows, *_ in parts]))

    @property
    def batch_parts(self) -> int:
        """Into how many parts the mesh splits a batch."""
        return math.prod(self.mesh.shape[axis] for axis in self.rules["batch"])

    def place(self, rows: Rows[np.ndarray]) -> Rows[jax.Array]:
        """A global batch of the `local_rows` of each process, [number of them, seq]."""
        numbers = np.arange(self.rows.tokens.shape[0])

        def placed(like: jax.ShapeDtypeStruct, local: np.ndarray) -> jax.Array:
            def part(index: Any) -> np.ndarray:
                return local[np.searchsorted(self.local_rows, numbers[index[0]])]

            return jax.make_array_from_callback(like.shape, like.sharding, part)

        return Rows(*map(placed, self.rows, rows))


def objective_of(config: ConfigDict) -> Any:
    """The functions of a configuration's objective; InputError for one that does not exist."""
    if config.objective not in _OBJECTIVES:
        raise InputError(
            f"objective={config.objective!r} must be one of {', '.join(map(repr, _OBJECTIVES))}"
        )
    return _OBJECTIVES[config.objective](config)


def check(config: ConfigDict) -> None:
    """Raises InputError for a value that cannot be right, without reading any file."""
    for name in _AT_LEAST_ONE:
        section, field = name.split(".")
        if config[section][field] < 1:
            raise InputError(f"{name}={config[section][field]} must be at least 1")
    if config.train.batch_size % config.data.num_shards:
        raise InputError(
            f"data.num_shards={config.data.num_shards} must divide "
            f"train.batch_size={config.train.batch_size}"
        )


def _nothing(state: Any, _rows: Rows) -> tuple[Any, dict[str, jax.Array]]:
    return state, {}
