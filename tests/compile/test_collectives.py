"""Collectives of programs whose exchanges are known, and of texts from the compiler for TPUs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from smem_jax.compile.collectives import collectives, merged

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"

# kind, bytes of the full array, devices of a group, times, mesh axes, bytes that a device sends.
EXPECTED = {
    "all_gather": ["all-gather", 4096, 4, 1, "memory", 3072],
    "all_gather_of_all": ["all-gather", 8192, 8, 1, "data+memory", 7168],
    "psum": ["all-reduce", 1024, 2, 1, "data", 1024],
    "psum_of_two": ["all-reduce", 1024, 4, 1, "memory", 1536],
    "psum_scatter": ["reduce-scatter", 1024, 4, 1, "memory", 768],
    "all_to_all": ["all-to-all", 1024, 4, 1, "memory", 768],
    "ppermute": ["collective-permute", 1024, 4, 1, "memory", 1024],
    "scan": ["all-reduce", 1024, 4, 5, "memory", 7680],
    "nested": ["collective-permute", 1024, 2, 21, "data", 21504],
    # Before the first turn and after each: of a loop without a known length there is one.
    "until": ["all-reduce", 4, 8, 2, "data+memory", 14],
    "accident": ["all-gather", 8192, 8, 1, "data+memory", 7168],
}


@pytest.fixture(scope="module")
def compiled():
    """What eight devices exchange in each program of `fixtures/exchanges.py`."""
    flags = "--xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, FIXTURES / "exchanges.py"],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", EXPECTED)
def test_what_is_exchanged_is_found(compiled, name):
    assert compiled[name] == [EXPECTED[name]]


def test_a_program_without_exchanges_has_none(compiled):
    assert compiled["nothing"] == []
    assert compiled.keys() == EXPECTED.keys() | {"nothing"}


def summary(text):
    return {
        (each.kind, each.arrays[0], each.group, each.count) for each in merged(collectives(text))
    }


# A gather from a table split over 'memory' (4), six turns of a loop with a product split likewise,
# then a sum scattered over 'data' (2), an exchange over 'memory' and a swap over 'data'.
ON_EVERY_TPU = {
    ("all-gather", "bf16[1024,128]", (0, 4), 1),
    ("reduce-scatter", "bf16[1024,128]", (0, 4), 1),
    ("collective-permute", "bf16[128,512]", (0, 4), 1),
    ("all-to-all", "bf16[4,128,128]", (0, 1, 2, 3), 1),
    ("all-reduce", "bf16[]", tuple(range(8)), 1),
}


def test_text_for_a_v5p():
    assert summary((FIXTURES / "exchanges_v5p.hlo").read_text()) == ON_EVERY_TPU | {
        ("all-reduce", "bf16[512,512]", (0, 1, 2, 3), 6),
        ("all-gather", "bf16[4096,512]", (0, 1, 2, 3), 1),  # the table
    }


def test_text_for_a_tpu7x_where_sparse_cores_exchange():
    assert summary((FIXTURES / "exchanges_tpu7x.hlo").read_text()) == ON_EVERY_TPU | {
        ("reduce-scatter", "bf16[512,512]", (0, 1, 2, 3), 6),
        ("all-to-all", "bf16[1024,4,128]", (0, 1, 2, 3), 1),
    }


def one(attributes, *, operation="all-reduce", shape="f32[8,4]", before="", after=""):
    """A program of 16 devices with one collective; its lines are as XLA prints them."""
    text = (
        "HloModule m, num_partitions=16\n\n"
        f"{before}"
        f"ENTRY %main (p: {shape}) -> {shape} {{\n"
        f"  %p = {shape}{{1,0:T(8,128)}} parameter(0)\n"
        f"  ROOT %c = {shape}{{1,0:T(8,128)}} {operation}(%p), channel_id=1, {attributes}\n"
        "}\n"
    )
    return collectives(text)[0]


@pytest.mark.parametrize(
    ("groups", "first"),
    [
        ("{{0,4,8,12},{1,5,9,13},{2,6,10,14},{3,7,11,15}}", (0, 4, 8, 12)),
        ("[4,4]<=[16]", (0, 1, 2, 3)),
        ("[4,4]<=[4,4]T(1,0)", (0, 4, 8, 12)),
        ("[2,8]<=[2,2,4]T(1,0,2)", (0, 1, 2, 3, 8, 9, 10, 11)),
        ("mesh['axis_0'=4,'axis_1'=4] {'axis_0'}", (0, 4, 8, 12)),
        ("mesh['axis_0'=4,'axis_1'=4] {'axis_0','axis_1'}", tuple(range(16))),
        # A part of an axis: two devices that lie apart by 1, after four parts of it.
        ("mesh['axis_0'=8,'axis_1'=2] {'axis_0':(4)2}", (0, 2)),
        ("mesh['axis_0'=8,'axis_1'=2] {'axis_0':(1)2}", (0, 8)),
        ("mesh['a'=1,'b'=4,'c'=4], device_ids=([2,8]T(1,0)) {'c'}", (0, 8, 1, 9)),
        ("{}", tuple(range(16))),
    ],
)
def test_groups_in_all_their_notations(groups, first):
    assert one(f"replica_groups={groups}, use_global_device_ids=true").group == first


def test_a_sum_and_its_slice_in_one_fusion_is_a_reduce_scatter():
    fused = """%all-reduce-scatter (input: f32[2048,1024]) -> f32[512,1024] {
  %constant.1 = s32[]{:T(128)} constant(0)
  %input = f32[2048,1024]{1,0:T(8,128)} parameter(0)
  %all-reduce.9 = f32[2048,1024]{1,0:T(8,128)} all-reduce(%input), replica_groups=[4,4]<=[16]
  ROOT %slice = f32[512,1024]{1,0:T(8,128)} dynamic-slice(%all-reduce.9, %constant.1, %constant.1)
}

"""
    text = f"""HloModule m, num_partitions=16

{fused}ENTRY %main (p: f32[2048,1024]) -> f32[512,1024] {{
  %p = f32[2048,1024]{{1,0:T(8,128)}} parameter(0)
  ROOT %f = f32[512,1024] fusion(%p), kind=kCustom, calls=%all-reduce-scatter, \
metadata={{op_name="jit(step)/scatter-add"}}
}}
"""
    (found,) = collectives(text)
    assert (found.kind, found.nbytes, found.group_size) == ("reduce-scatter", 2**23, 4)
    assert found.sent_bytes == 0.75 * 2**23
    assert found.op_name == "jit(step)/scatter-add"


def test_a_permutation_that_leaves_all_in_place_sends_nothing():
    found = one("source_target_pairs={{0,0},{1,1}}", operation="collective-permute")
    assert found.sent_bytes == 0 and found.group == ()


def test_like_ones_are_merged_and_the_largest_comes_first():
    small, large = one("replica_groups=[4,4]<=[16]", shape="f32[2,2]"), one("replica_groups={}")
    found = merged([small, large, large])
    assert [(each.nbytes, each.count) for each in found] == [(128, 2), (16, 1)]


def test_text_that_is_no_program_is_refused():
    with pytest.raises(ValueError, match="no ENTRY computation"):
        collectives("module @jit_step {}")
