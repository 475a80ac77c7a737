"""What the chips of a pod exchange in a sparse step, by the TPU's own compiler: it grows with the
batch, and not with the number of slots.

Run as `test_compile.py`.
"""

import importlib.util
from pathlib import Path

import jax
import pytest

from smem_jax import config as config_module
from smem_jax import sharding
from smem_jax.compile import topology
from smem_jax.compile.collectives import collectives
from smem_jax.job_settings import job_defaults
from smem_jax.train import sparse
from smem_jax.train.program import Program

pytestmark = [
    pytest.mark.tpu,
    pytest.mark.skipif(
        importlib.util.find_spec("libtpu") is None,
        reason="libtpu, the TPU's compiler, is not installed",
    ),
]
_CONFIG = Path(__file__).parents[2] / "configs" / "pods" / "finetune_1b.py"
_SMALL = ["model.num_blocks=2", "memory.blocks=(0,)", "model.vocab_size=4096", "sparse.top_t=500"]
_SMALL += ["model.embed_dim=512", "model.ffn_dim=1024", "model.num_heads=4", "model.num_kv_heads=4"]
_SMALL += ["memory.value_dim=512", "memory.key_dim=64", "memory.top_k=8", "mesh.memory=4"]
_SMALL += ["data.seq_len=128", "data.num_shards=8"]


def exchanged(num_slots, batch_size, *more):
    """Bytes that a chip of a v5p:2x2x1 sends, gathered parameters left out; and the memory.

    The value table is none of the parameters: were it gathered, it would count.
    """
    overrides = [f"memory.num_slots={num_slots}", f"train.batch_size={batch_size}", *more]
    config = config_module.load(_CONFIG, [*_SMALL, *overrides], job_defaults())
    program = Program(config, topology.devices(topology.parse("v5p:2x2x1")))
    compiled = program.lower_step().compile()
    shapes = {leaf.shape for leaf in jax.tree.leaves(program.state.params) if leaf.ndim == 2}
    assert (num_slots, config.memory.value_dim) not in shapes
    parameters = {f"bf16[{a},{b}]" for shape in shapes for a, b in (shape, shape[::-1])}
    found = collectives(compiled.as_text())
    assert all(each.arrays for each in found)  # else any of them would pass for a parameter
    sent = [
        each.sent_bytes
        for each in found
        if each.kind != "all-gather" or not parameters.issuperset(each.arrays)
    ]
    return sum(sent), compiled.memory_analysis()


_TABLE = (2**20 - 2**18) * 512 * 2  # bytes by which the larger table exceeds the smaller


def _whole_table(monkeypatch):
    """Lookups take the table for whole, so that it is gathered."""
    monkeypatch.setattr(
        sparse, "table_layout", lambda: sharding.table_layout()._replace(slots=(), value=())
    )


@pytest.mark.parametrize(
    ("change", "options", "least", "most"),
    [
        pytest.param(None, [], 0, 0, id="as it is"),
        pytest.param(_whole_table, [], _TABLE / 2 + 1, _TABLE * 8, id="table gathered"),
        # Trained whole, a table's gradient is summed over the groups of chips.
        pytest.param(
            None,
            ["objective=pretrain", "mesh.memory=2"],
            _TABLE / 4 + 1,
            _TABLE * 8,
            id="gradient of the table summed",
        ),
    ],
)
def test_what_is_sent_grows_with_the_slots_only_where_a_table_is_sent(
    change, options, least, most, monkeypatch
):
    """The last two are controls: a table that is sent shows in what is measured of the first."""
    if change is not None:
        change(monkeypatch)
    few, _ = exchanged(2**18, 16, *options)
    many, _ = exchanged(2**20, 16, *options)
    assert few > 0
    assert least <= many - few <= most


@pytest.mark.parametrize(
    ("change", "holds"),
    [
        pytest.param(None, True, id="as it is"),
        pytest.param(_whole_table, False, id="table gathered"),
    ],
)
def test_what_is_sent_grows_with_the_batch_and_no_temporary_is_as_large_as_the_table(
    change, holds, monkeypatch
):
    """The last is the control: each claim is false where the table is gathered."""
    if change is not None:
        change(monkeypatch)
    few, memory = exchanged(2**18, 16)
    many, memory_of_many = exchanged(2**22, 16)
    more, _ = exchanged(2**18, 32)
    table = (2**22 - 2**18) * 512 * 2 / 4
    grown = memory_of_many.argument_size_in_bytes - memory.argument_size_in_bytes
    assert table < grown < 1.1 * table
    assert (many == few) == holds
    assert (1.6 * few < more < 2.2 * few) == holds
    # Search compares with sqrt(num_slots) sub-keys; nothing temporary is as large as the table.
    assert (memory_of_many.temp_size_in_bytes < 0.25 * table) == holds
