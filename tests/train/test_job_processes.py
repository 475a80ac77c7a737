"""`smem train` as two processes of four devices, killed and not, beside one process of eight."""

import json
import os
import sys
from pathlib import Path

import job_configs
import kills
import pytest

_CONFIG = "def get_config():\n    return {}\n"
_MESH = {"mesh__data": 2, "mesh__fsdp": 2, "mesh__memory": 2}


class Job:
    """One tiny job on eight devices, by any number of processes."""

    def __init__(self, folder: Path, objective: str, **fields):
        config = job_configs.tiny(objective, folder, **_MESH, **fields)
        self._file = folder / f"{objective}.py"
        self._file.write_text(_CONFIG.format(config.to_dict()))

    def command(self, workdir: Path, processes: int):
        def of_process(process: int, port: int) -> list[str]:
            flags = f"--xla_force_host_platform_device_count={8 // processes}"
            command = ["env", f"XLA_FLAGS={flags}", "JAX_PLATFORMS=cpu", sys.executable]
            command += ["-m", "smem_jax.cli", "train", "--config", str(self._file)]
            command += ["--workdir", str(workdir)]
            if processes > 1:
                command += ["--coordinator", f"127.0.0.1:{port}", "--process-id", str(process)]
                command += ["--num-processes", str(processes)]
            return command

        return of_process

    def run(self, workdir: Path, processes: int) -> None:
        life = kills.Job(self.command(workdir, processes), processes).finish(timeout=300)
        assert life.statuses == [0] * processes, life.outputs


def last_record(workdir: Path) -> dict:
    """The fingerprints of all arrays at the end, and how far each shard of the data was read."""
    newest = workdir / "checkpoints" / str(kills.newest(workdir / "checkpoints"))
    content = json.loads((newest / "record" / "metadata").read_text())["content"]
    return {name: content[name] for name in ("fingerprints", "position")}


def metrics(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").open()]


@pytest.mark.slow
def test_two_processes_select_and_learn_as_one_does(tmp_path):
    # By plain gradient descent, which rounding in another order does not blow up.
    job = Job(tmp_path, "sparse", sparse__optimizer="sgd", sparse__learning_rate=1.0)
    job.run(tmp_path / "one", 1)
    job.run(tmp_path / "two", 2)
    one, two = (last_record(tmp_path / name) for name in ("one", "two"))
    assert one["position"] == two["position"]
    exact = [n for n in one["fingerprints"] if n.startswith(("changed", "document_frequency"))]
    assert len(exact) == 2
    for name in exact:
        assert one["fingerprints"][name] == two["fingerprints"][name], name
    for a, b in zip(metrics(tmp_path / "one"), metrics(tmp_path / "two"), strict=True):
        for name in ("loss", "gradient_norm", "slot_entropy", "new_slots"):
            assert a[name] == pytest.approx(b[name], abs=1e-5), (a["step"], name)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["sparse", "pretrain"])
def test_killed_25_times_it_ends_bit_for_bit_like_one_left_alone(objective, tmp_path):
    num_kills = int(os.environ.get("NUM_KILLS", "25" if objective == "sparse" else "5"))
    job = Job(tmp_path, objective, train__steps=8 * num_kills + 20, train__checkpoint_every=2)
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    job.run(alone, 2)
    lives = kills.run_with_kills(
        job.command(killed, 2), 2, num_kills=num_kills, seed=7, saves_into=killed / "checkpoints"
    )
    print([life.end for life in lives], flush=True)
    assert sum(life.end.startswith("killed") for life in lives) == num_kills
    assert any(life.end == "killed while saving" for life in lives)
    assert lives[-1].statuses == [0, 0], lives[-1].outputs
    assert last_record(killed) == last_record(alone)
    steps = [line["step"] for line in metrics(killed)]
    assert steps == [line["step"] for line in metrics(alone)]
