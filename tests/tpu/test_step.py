"""A whole row-sparse step compiled for a TPU, with the backend that the platform decides on.

Run as `test_compile.py`.
"""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import row_sparse
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from smem_jax.optim import row_adam, row_sgd

pytestmark = [
    pytest.mark.tpu,
    pytest.mark.skipif(
        importlib.util.find_spec("libtpu") is None,
        reason="libtpu, the TPU's compiler, is not installed",
    ),
]


@pytest.mark.parametrize(
    ("topology", "dtype", "optimizer"),
    [
        ("v5p:2x2x1", jnp.float32, row_adam()),
        ("v5p:2x2x1", jnp.bfloat16, row_sgd()),
        ("v6e:2x2", jnp.float32, row_sgd()),
        ("v6e:2x2", jnp.bfloat16, row_adam()),
    ],
    ids=["v5p-float32-adam", "v5p-bfloat16-sgd", "v6e-float32-sgd", "v6e-bfloat16-adam"],
)
def test_the_table_is_read_by_the_kernel_and_written_in_place(topology, dtype, optimizer):
    found = topologies.get_topology_desc(platform="tpu", topology_name=topology)
    mesh, num_slots = Mesh(np.array(found.devices[:1]), ("device",)), 2**20
    with jax.set_mesh(mesh):
        sharding = NamedSharding(mesh, PartitionSpec())
        program = row_sparse.compiled(num_slots, dtype, optimizer, sharding)
    assert program.as_text().count("tpu_custom_call") >= 2  # the sum and the weights' gradient
    memory = program.memory_analysis()
    table = num_slots * 256 * jnp.dtype(dtype).itemsize
    assert memory.temp_size_in_bytes < 0.05 * table
    assert memory.alias_size_in_bytes >= table
