"""`smem compile` with the real compiler, for TPUs that are not here. Run as `test_compile.py`."""

import importlib.util
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding

from smem_jax import cli
from smem_jax.compile import check, hlo, topology
from smem_jax.compile.chips import TPUS, peak_flops
from smem_jax.compile.work import work
from smem_jax.errors import InputError
from smem_jax.kernels.lookup import pallas_mosaic_tpu

pytestmark = [
    pytest.mark.tpu,
    pytest.mark.skipif(
        importlib.util.find_spec("libtpu") is None,
        reason="libtpu, the TPU's compiler, is not installed",
    ),
]
CONFIG = """
def get_config():
    return {
        "objective": "%s",
        "model": {"num_blocks": 1},
        "memory": {"blocks": (0,), "num_slots": 2**14, "value_dim": 256},
        "mesh": {"data": 2, "memory": 2},
    }
"""


def on_one(name):
    """Of the first device of a topology, a sharding."""
    machines = topology.parse(name)
    mesh = Mesh(np.array(topology.devices(machines)[:1]), ("device",))
    return machines.chip, NamedSharding(mesh, jax.P())


def lowered(function, sharding, *arrays, **options):
    shapes = [jax.ShapeDtypeStruct(shape, dtype, sharding=sharding) for shape, dtype in arrays]
    return jax.jit(function, **options).trace(*shapes).lower()


@pytest.mark.parametrize("chip", TPUS)
def test_slices_have_as_many_devices_as_is_said(chip):
    for shape in TPUS[chip].shapes[:4]:
        machines = topology.parse(f"{chip}:{shape}")
        devices = topology.devices(machines)
        assert len(devices) == machines.num_devices
        assert peak_flops(devices[0].device_kind) == TPUS[chip].of_device().flops


def test_a_slice_that_the_compiler_does_not_know_is_named():
    with pytest.raises(InputError, match=r"v5p:3x3x3 does not exist \(.*\); these do: v5p:2x2x1"):
        topology.devices(topology.parse("v5p:3x3x3"))


@pytest.mark.parametrize("chip", TPUS)
def test_the_memory_of_a_chip_is_what_the_compiler_allows(chip):
    known, sharding = on_one(f"{chip}:{TPUS[chip].shapes[1]}")
    large = lowered(lambda x: x * x.sum(), sharding, ((2**30, 100), jnp.float32))
    with pytest.raises(Exception, match="RESOURCE_EXHAUSTED") as error:
        large.compile()
    allowed = re.search(r"exceeds available HBM \(([\d.]+)G\)", str(error.value))
    assert known.of_device().hbm_bytes == pytest.approx(float(allowed[1]) * 2**30, abs=2**20)


def test_what_does_not_fit_is_compiled_all_the_same_and_reckoned_up():
    chip, sharding = on_one("v5e:2x2")
    gib = ((2**20, 256), jnp.float32)

    def step(x, y):
        return x + y.sum(), y

    large = lowered(step, sharding, *[((2**20, 10 * 256), jnp.float32), gib], donate_argnums=0)
    report = check.analyse(check.compiled(large), chip, 1)
    memory = report.memory
    assert memory.arguments == 11 * 2**30 and memory.outputs >= 11 * 2**30
    assert memory.aliased == 10 * 2**30 and memory.fits
    twice = check.compiled(lowered(step, sharding, *[((2**20, 10 * 256), jnp.float32), gib]))
    memory = check.analyse(twice, chip, 1).memory
    assert memory.total > 21 * 2**30 and not memory.fits


def test_the_program_is_the_one_that_would_run():
    _, sharding = on_one("v6e:2x2")
    arrays = [((256, 128), jnp.bfloat16), ((128, 128), jnp.bfloat16)]
    small = lowered(lambda x, w: jnp.tanh(jnp.tanh(x @ w) @ w), sharding, *arrays)
    plain, checked = small.compile(), check.compiled(small)
    assert plain.as_text() == checked.as_text()
    for field in ("argument", "output", "temp", "generated_code"):
        name = f"{field}_size_in_bytes"
        sizes = [getattr(each.memory_analysis(), name) for each in (plain, checked)]
        assert sizes[0] == sizes[1]


def test_the_lookup_costs_its_rows_and_not_the_table():
    _, sharding = on_one("v5p:2x2x1")
    tokens, reads, width = 1024, 32, 256
    moved = []
    for num_slots in (2**16, 2**20):
        arrays = [
            ((num_slots, width), jnp.float32),
            ((tokens, reads), jnp.int32),
            ((tokens, reads), jnp.float32),
        ]
        with jax.set_mesh(sharding.mesh):
            program = lowered(pallas_mosaic_tpu.weighted_sum, sharding, *arrays).compile()
        done = work(hlo.parse(program.as_text()))
        assert done.pallas_kernels == 1
        moved.append(done.hbm_bytes)
    rows = tokens * reads * width * 4
    assert moved[0] == moved[1] and rows <= moved[0] < 1.2 * rows


@pytest.mark.parametrize(("objective", "chip"), [("pretrain", "v5p:2x2x1"), ("sparse", "v6e:2x2")])
def test_a_job_is_compiled_for_a_pod(objective, chip, tmp_path, capsys):
    config, output = tmp_path / "toy.py", tmp_path / "report.json"
    config.write_text(CONFIG % objective)
    arguments = ["compile", "--config", str(config), "--topology", chip, "--json", str(output)]
    assert cli.main(arguments) == 0
    text = capsys.readouterr().out
    assert f"{chip}, 4 devices: mesh data=2 fsdp=1 tensor=1 memory=2" in text
    assert "fits" in text and "tokens/s at most" in text
    report = json.loads(output.read_text())
    memory, table = report["memory"], 2**14 * 256 * 4
    parts = {part["name"]: part for part in report["parts"]}
    assert parts["values"]["nbytes"] == table and parts["values"]["device_bytes"] == table / 2
    of_parts = sum(part["device_bytes"] for part in report["parts"])
    assert of_parts <= memory["arguments"] <= 1.2 * of_parts + 2**16  # padded to tiles
    assert memory["aliased"] >= table / 2
    assert report["work"]["pallas_kernels"] >= 1
    assert report["model_flops"] / 4 < report["flops"] < 20 * report["model_flops"] / 4
    assert {"data", "memory"} <= {axis for each in report["collectives"] for axis in each["axes"]}
