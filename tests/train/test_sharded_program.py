"""Jobs on meshes of eight devices beside a single one, in a process that has eight."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).resolve().parents[1] / "fixtures" / "sharded_program.py"
_PARTS = {  # of the table, on each device
    "rows over 2, columns over 2": 1 / 4,
    "columns over 8": 1 / 8,
    "tensor 2, fsdp 2, columns over 2": 1 / 2,
}


@pytest.fixture(
    scope="module",
    params=[
        name if i == 0 else pytest.param(name, marks=pytest.mark.slow)
        for i, name in enumerate(_PARTS)
    ],
)
def results(request):
    """What each objective gives on a mesh."""
    done = subprocess.run(
        [sys.executable, _SCRIPT, request.param],
        env=os.environ
        | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["objective"], line["mesh"]) for line in lines] == [
        ("pretrain", request.param),
        ("sparse", request.param),
    ]
    return lines


def test_eight_devices_choose_the_same_slots_and_end_where_one_does(results):
    for line in results:
        # Counts, document frequency, steps and which slots have changed: exactly.
        assert line["unequal"] == []
        assert line["metrics_differ_by"] < 5e-6
        # Adam's steps have the size of the learning rate however small a gradient is.
        assert line["state_differs_by"] < (1e-5 if line["objective"] == "pretrain" else 1e-6)
    assert results[1]["slots_changed"] > 40  # more than one step's


def test_a_step_without_a_finite_loss_changes_no_part_of_the_table(results):
    assert all(line["is_skipped_where_not_finite"] for line in results)


def test_each_device_has_its_part_of_the_table(results):
    for line in results:
        assert line["part_of_the_table"] == _PARTS[line["mesh"]]


def test_no_exchange_of_a_sparse_step_is_as_large_as_a_part_of_the_table(results):
    """Even a part of the table is more than all that the batch makes."""
    line = results[1]
    largest = max(size for _, size, _ in line["collectives"])
    assert largest < line["table_bytes"] * line["part_of_the_table"]
    assert {"all-gather", "all-to-all"} <= {kind for kind, _, _ in line["collectives"]}


@pytest.mark.slow
def test_what_eight_devices_saved_has_the_same_logits_on_four_and_on_one(tmp_path):
    done = subprocess.run(
        [sys.executable, _SCRIPT.with_name("restored_logits.py"), tmp_path],
        env=os.environ
        | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = dict(line.split() for line in done.stdout.splitlines())
    assert found.keys() == {"4", "1"}
    assert all(float(difference) < 1e-5 for difference in found.values()), found
