"""Names of machines."""

import importlib.util
import subprocess
import sys

import pytest

from smem_jax.compile import topology
from smem_jax.compile.chips import GPUS, TPUS
from smem_jax.errors import InputError


@pytest.mark.parametrize(
    ("name", "chips", "devices"),
    [
        ("v5p:4x4x4", 64, 64),
        ("v6e:16x16", 256, 256),
        ("tpu7x:2x2x1", 4, 8),
        ("gpu:h100x8", 8, 8),
        ("gpu:a100-80x16", 16, 16),
        ("gpu:b200", 1, 1),
    ],
)
def test_names_give_numbers(name, chips, devices):
    found = topology.parse(name)
    assert (found.num_chips, found.num_devices) == (chips, devices)
    assert found.chip.is_gpu == name.startswith("gpu:")


def test_every_shape_that_a_message_offers_is_one():
    for chip in TPUS.values():
        for shape in chip.shapes:
            assert topology.parse(f"{chip.name}:{shape}").num_chips <= chip.most
    for chip in GPUS.values():
        for shape in chip.shapes:
            topology.parse(f"gpu:{chip.name}x{shape}")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("v9:2x2", "'v9:2x2' is none: a TPU (v4, v5e, v5p, v6e, tpu7x)"),
        ("gpu:v100x8", "a GPU (a100-40, a100-80, h100, h200, b200)"),
        ("v5p", "'v5p' is none"),
        ("v5p:4x4", "its shape has to be like 8x8x16); these do: v5p:2x2x1"),
        ("v6e:32x32", "1024 chips exceed 256); these do: v6e:1x1"),
        ("v5e:0x2", "v5e:0x2 does not exist"),
        ("gpu:h100x0", "gpu:h100x0 does not exist"),
        ("v5p:4x4x4\n", "is none"),
    ],
)
def test_what_does_not_exist_is_named_with_what_does(name, part):
    with pytest.raises(InputError) as error:
        topology.parse(name)
    assert part in str(error.value)


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="libtpu is installed")
def test_without_the_compiler_it_says_how_to_get_it():
    with pytest.raises(
        InputError, match=r"libtpu, is not installed; pip install 'smem-jax\[tpu\]'"
    ):
        topology.prepare(topology.parse("v5p:2x2x1"))


def test_jax_is_not_imported_before_the_environment_is_set():
    program = "import sys; from smem_jax.compile import topology; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_gpus_are_simulated_as_many_as_asked_for(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "")
    monkeypatch.setenv("XLA_FLAGS", "--a=1 --xla_force_host_platform_device_count=2")
    topology.prepare(topology.parse("gpu:h200x16"))
    assert topology.os.environ["XLA_FLAGS"] == "--a=1 --xla_force_host_platform_device_count=16"
    assert topology.os.environ["JAX_PLATFORMS"] == "cpu"


def test_a_device_has_its_share_of_a_chip():
    chip = TPUS["tpu7x"]
    share = chip.of_device()
    assert (share.devices, 2 * share.flops, 2 * share.hbm_bytes) == (1, chip.flops, chip.hbm_bytes)
    assert TPUS["v5p"].of_device() == TPUS["v5p"]
