"""The TPU kernels compiled by the real TPU compiler, which runs on any machine; nothing is run.

    pip install '.[tpu]' && pytest -m tpu tests/tpu -s

Prints what every program needs, and holds them to no copy of the table: temporary memory under 1 %
of it and the same for 32 reads and for 128.
"""

import importlib.util
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import topologies
from jax.experimental.layout import Format, Layout
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from smem_jax.kernels.lookup import pallas_mosaic_tpu, pallas_sparsecore

pytestmark = [
    pytest.mark.tpu,
    pytest.mark.skipif(
        importlib.util.find_spec("libtpu") is None,
        reason="libtpu, the TPU's compiler, is not installed",
    ),
]

TOPOLOGIES = {
    "v4": "v4:2x2x1",
    "v5e": "v5e:2x2",
    "v5p": "v5p:2x2x1",
    "v6e": "v6e:2x2",
    "tpu7x": "tpu7x:2x2x1",
}
KERNELS = [(pallas_mosaic_tpu, chip) for chip in TOPOLOGIES] + [
    (pallas_sparsecore, chip) for chip in ("v5p", "v6e", "tpu7x")
]
NUM_SLOTS, TOKENS = 2**20, 4096


@pytest.fixture(scope="module")
def report():
    """A list of lines, printed at the end."""
    lines = [
        f"{NUM_SLOTS} slots, {TOKENS} tokens; bytes of temporary memory and of VMEM",
        "chip  | kernel            | operation        | dim  | dtype    | reads | temp | VMEM",
    ]
    yield lines
    print("", *lines, sep="\n")


def one_device(chip):
    topology = topologies.get_topology_desc(platform="tpu", topology_name=TOPOLOGIES[chip])
    return Mesh(np.array(topology.devices[:1]), ("device",))


def compiled(module, operation, num_slots, value_dim, dtype, tokens, reads):
    """The program for the mesh in use."""
    assert module.unsupported((num_slots, value_dim), jnp.dtype(dtype), tokens, reads) is None
    # Left to itself, the compiler would take narrow arguments in columns, to turn them first.
    sharding = NamedSharding(jax.sharding.get_mesh(), PartitionSpec())
    rows = Format(Layout(major_to_minor=(0, 1)), sharding)
    width = reads if operation == "weighted_sum" else value_dim
    arguments = [
        jax.ShapeDtypeStruct(shape, dtype, sharding=rows)
        for shape, dtype in [
            ((num_slots, value_dim), dtype),
            ((tokens, reads), jnp.int32),
            ((tokens, width), jnp.float32),
        ]
    ]
    function = jax.jit(getattr(module, operation), in_shardings=rows, out_shardings=rows)
    return function.trace(*arguments).lower().compile()


def bytes_of_small_arrays(tokens, reads, value_dim):
    """Of all but the table, with tokens and columns rounded up to blocks, each held twice."""
    rows, columns = tokens + 64, 3 * (reads + 128) + value_dim
    return 2 * 4 * rows * columns


def vmem_bytes(program, module, value_dim, reads):
    """What the compiler says. For SparseCores it does not: what the kernel's own buffers sum to."""
    if module is pallas_sparsecore:
        core = pallas_sparsecore._sparse_core()
        window = pallas_sparsecore._window(value_dim, reads, core)
        return pallas_sparsecore._bytes_used(window, value_dim, reads)
    used = re.search(
        r'"used_scoped_memory_configs":\[\{"memory_space":"1","offset":"0","size":"(\d+)"',
        program.as_text(),
    )
    return int(used[1])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("value_dim", [256, 1024])
@pytest.mark.parametrize("operation", ["weighted_sum", "weights_gradient"])
@pytest.mark.parametrize(
    "module, chip", KERNELS, ids=[f"{module.__name__.split('.')[-1]}-{c}" for module, c in KERNELS]
)
def test_no_table_is_copied(module, chip, operation, value_dim, dtype, report):
    table_bytes = NUM_SLOTS * value_dim * jnp.dtype(dtype).itemsize
    temporary = []
    with jax.set_mesh(one_device(chip)):
        for reads in (32, 128):
            program = compiled(module, operation, NUM_SLOTS, value_dim, dtype, TOKENS, reads)
            temporary.append(program.memory_analysis().temp_size_in_bytes)
            vmem = vmem_bytes(program, module, value_dim, reads)
            report.append(
                f"{chip:<5} | {module.__name__.split('.')[-1]:<17} | {operation:<16} "
                f"| {value_dim:<4} | {dtype:<8} | {reads:<5} | {temporary[-1]:<4} | {vmem}"
            )
    assert max(temporary) < table_bytes / 100
    assert temporary[0] == temporary[1]


# num_slots, value_dim, tokens, reads: little of everything, much of everything, nothing round.
@pytest.mark.parametrize(
    "sizes", [(2, 128, 1, 1), (2**18, 2048, 32768, 128), (1002, 640, 1000, 100)]
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "module, chip", KERNELS, ids=[f"{module.__name__.split('.')[-1]}-{c}" for module, c in KERNELS]
)
def test_other_sizes_compile(module, chip, dtype, sizes):
    num_slots, value_dim, tokens, reads = sizes
    with jax.set_mesh(one_device(chip)):
        for operation in ("weighted_sum", "weights_gradient"):
            program = compiled(module, operation, num_slots, value_dim, dtype, tokens, reads)
            temporary = program.memory_analysis().temp_size_in_bytes
            assert temporary <= bytes_of_small_arrays(tokens, reads, value_dim)


@pytest.mark.parametrize("chip", ["v5p", "tpu7x"])
def test_a_table_of_32_gib_is_not_copied(chip):
    with jax.set_mesh(one_device(chip)):
        for operation in ("weighted_sum", "weights_gradient"):
            program = compiled(pallas_mosaic_tpu, operation, 2**26, 256, "bfloat16", 4096, 128)
            assert program.memory_analysis().temp_size_in_bytes == 0


@pytest.mark.parametrize("chip", TOPOLOGIES)
def test_the_widest_rows_and_most_reads_fit(chip):
    most = {"value_dim": pallas_mosaic_tpu.MAX_VALUE_DIM, "reads": 2048, "tokens": 64}
    with jax.set_mesh(one_device(chip)):
        for operation in ("weighted_sum", "weights_gradient"):
            program = compiled(
                pallas_mosaic_tpu, operation, num_slots=2**14, dtype="bfloat16", **most
            )
            assert program.memory_analysis().temp_size_in_bytes == 0
