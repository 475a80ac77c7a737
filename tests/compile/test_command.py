"""`smem compile` as it is called; without the compiler for TPUs, so for GPUs. See tests/tpu."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from smem_jax import cli

CONFIG = """
def get_config():
    return {"objective": "pretrain", "model": {"num_blocks": 2}, "memory": {"blocks": (1,)}}
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    for name in ("JAX_PLATFORMS", "XLA_FLAGS"):  # which the command sets for good
        monkeypatch.setenv(name, os.environ.get(name, ""))
    file = tmp_path / "toy.py"
    file.write_text(CONFIG)
    return file


def compile_for(topology, config, *words):
    return cli.main(["compile", "--config", str(config), "--topology", topology, *words])


def test_a_gpu_host_is_reckoned_up(config, tmp_path):
    """In a process of its own, since that has to have eight devices."""
    output = tmp_path / "report.json"
    program = "import sys; from smem_jax import cli; sys.exit(cli.main())"
    words = ["--topology", "gpu:h100x8", "--json", output]
    words += ["mesh.data=2", "mesh.fsdp=2", "mesh.memory=2"]
    done = subprocess.run(
        [sys.executable, "-c", program, "compile", "--config", config, *words],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "gpu:h100x8, 8 devices: mesh data=2 fsdp=2 tensor=1 memory=2" in done.stdout
    assert "an estimate" in done.stdout and "fits" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    report = json.loads(output.read_text())
    parts = {part["name"]: part for part in report["parts"]}
    table = 2**12 * 128 * 4
    assert parts["values"]["nbytes"] == table and parts["values"]["device_bytes"] == table / 2
    assert parts["values_optimizer"]["device_bytes"] == 2 * (table / 2) + 4  # and its step number
    assert report["total"] > sum(part["device_bytes"] for part in report["parts"])
    assert report["fits"] is True and report["topology"] == "gpu:h100x8"


def test_what_does_not_fit_ends_with_status_3_and_says_what_to_change(config, capsys):
    words = ["memory.num_slots=67108864", "memory.value_dim=2048", "objective=sparse"]
    assert compile_for("gpu:h100x1", config, *words) == 3
    output = capsys.readouterr().out
    assert "does not fit; most is values: split the table over more devices" in output
    assert "512.00" in output  # GiB of the table


def test_activations_grow_with_the_batch_and_shrink_by_remat(config, tmp_path):
    def temporaries(*words):
        file = tmp_path / "r.json"
        assert compile_for("gpu:h100x1", config, "--json", str(file), *words) == 0
        return json.loads(file.read_text())["temporaries"]

    small, large = (temporaries("model.num_blocks=6", f"train.batch_size={n}") for n in (16, 64))
    assert 3 * small < large < 4.5 * small
    assert (
        temporaries("model.num_blocks=6", "train.batch_size=64", "model.remat=True") < 0.6 * large
    )


@pytest.mark.parametrize(
    ("topology", "words", "part"),
    [
        ("v9:2x2", [], "--topology 'v9:2x2' is none"),
        ("gpu:h100x1", ["mesh.fsdp=3"], "the product of the sizes must be the 1 devices"),
        ("gpu:h100x1", ["train.batch=3"], "train.batch"),
        ("gpu:h100x1", ["--json", "/nowhere/report.json"], "/nowhere/report.json"),
    ],
)
def test_bad_input_is_one_line(config, capsys, topology, words, part):
    assert compile_for(topology, config, *words) == 2
    error = capsys.readouterr().err
    assert error.startswith("smem: error: ") and error.count("\n") == 1 and part in error


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="libtpu is installed")
def test_without_libtpu_it_says_what_to_install(config, capsys):
    assert compile_for("v5p:2x2x1", config) == 2
    assert "pip install 'smem-jax[tpu]'" in capsys.readouterr().err
