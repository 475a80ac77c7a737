"""Checkpoints by one process; `test_restarts` has those of several."""

import ctypes
import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import own_mount
import pytest

from smem_jax.errors import InputError
from smem_jax.train import checkpoint_record
from smem_jax.train.run_checkpoints import RunCheckpoints

_FIXTURES = Path(__file__).parents[1] / "fixtures"
_CONFIG = {"model": {"num_blocks": 2}, "seed": 0}


def _state(seed: int) -> dict:
    key = jax.random.key(seed)
    return {
        "model": {"table": jax.random.normal(key, (64, 16)).astype(jnp.bfloat16)},
        "moments": [jax.random.normal(key, (64, 16)), jnp.zeros((0, 3))],
        "frequency": jnp.arange(seed, seed + 5, dtype=jnp.int32),
        "key": jax.random.key_data(key),
    }


def _like(state: dict) -> dict:
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )


def _open(directory: Path, keep: int = 2, config: dict = _CONFIG) -> RunCheckpoints:
    return RunCheckpoints(directory, keep=keep, config_json=json.dumps(config))


def _assert_equal(found: dict, expected: dict) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype and np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.fixture(scope="module")
def two_saved(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("saved") / "checkpoints"
    with _open(directory) as checkpoints:
        checkpoints.save(10, _state(1), {"read": {"shard-0": 10}})
        checkpoints.save(20, _state(2), {"read": {"shard-0": 20}})
    return directory


@pytest.fixture
def saved(two_saved, tmp_path) -> Path:
    return shutil.copytree(two_saved, tmp_path / "checkpoints")


def _restore(directory: Path, config: dict = _CONFIG, like: dict | None = None):
    with _open(directory, config=config) as checkpoints:
        return checkpoints.restore(like or _like(_state(0)))


def test_what_is_restored_is_what_was_saved(saved):
    step, arrays, position = _restore(saved)
    assert step == 20 and position == {"read": {"shard-0": 20}}
    _assert_equal(arrays, _state(2))


def test_nothing_is_restored_where_nothing_was_saved(tmp_path):
    assert _restore(tmp_path / "new") is None


def test_the_newest_are_kept_and_the_last_good_one_until_a_newer_is_complete(tmp_path):
    with _open(tmp_path, keep=1) as checkpoints:
        for step in range(1, 6):
            checkpoints.save(step, _state(step), {})
            complete = [int(p.name) for p in tmp_path.iterdir() if p.name.isdigit()]
            # The save of this step may be under way, but the one before it is complete.
            assert step == 1 or max(complete) >= step - 1
        checkpoints.wait()
        assert [p.name for p in tmp_path.iterdir()] == ["5"]


def test_a_step_just_saved_or_restored_is_not_saved_again(saved):
    with _open(saved) as checkpoints:
        checkpoints.restore(_like(_state(0)))
        checkpoints.save(20, _state(9), {}, wait=True)
        checkpoints.save(30, _state(3), {})
        checkpoints.save(30, _state(9), {}, wait=True)
    step, arrays, _ = _restore(saved)
    assert step == 30
    _assert_equal(arrays, _state(3))


def test_arrays_can_be_donated_as_soon_as_save_returns(tmp_path):
    step_on = jax.jit(lambda state: jax.tree.map(lambda x: x + 100, state), donate_argnums=0)
    given = _big_state(0)
    overwritten = step_on(given)
    assert given["big"].is_deleted()  # so the step does write into what it is given
    like = _like(overwritten)
    with _open(tmp_path) as checkpoints:
        for step in range(1, 21):
            state = _big_state(step)
            checkpoints.save(step, state, {})
            for _ in range(3):
                state = step_on(state)
            assert int(jax.block_until_ready(state)["big"][0, 0]) == 300 + step
            checkpoints.wait()
            restored = checkpoints.restore(like)
            assert restored.step == step
            for array in restored.arrays.values():
                assert (np.asarray(array) == step).all()


def _big_state(value: int) -> dict:
    return {"big": jnp.full((512, 4096), value), "small": jnp.full((7,), value)}


def test_what_is_written_over_behind_the_back_of_jax_is_noticed(tmp_path, monkeypatch):
    state = _big_state(1)
    save = ocp.CheckpointManager.save

    def written_over_and_saved(manager, step, *args, **kwargs):
        if step == 2:
            ctypes.memset(state["big"].unsafe_buffer_pointer(), 255, state["big"].nbytes)
        return save(manager, step, *args, **kwargs)

    monkeypatch.setattr(ocp.CheckpointManager, "save", written_over_and_saved)
    with _open(tmp_path) as checkpoints:
        checkpoints.save(1, _big_state(0), {}, wait=True)
        checkpoints.save(2, state, {}, wait=True)
        assert checkpoints.restore(_like(state)).step == 1
    assert (tmp_path / "damaged-2").is_dir()


def _damages(kind: str, path: Path) -> None:
    data = path.read_bytes()
    middle = len(data) // 2
    match kind:
        case "missing":
            path.unlink()
        case "cut":
            path.write_bytes(data[:middle])
        case "empty":
            path.write_bytes(b"")
        case "changed":
            path.write_bytes(data[:middle] + bytes([data[middle] ^ 16]) + data[middle + 1 :])


def _largest(directory: Path) -> Path:
    return max((p for p in directory.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


@pytest.mark.parametrize("kind", ["missing", "cut", "empty", "changed"])
@pytest.mark.parametrize("part", ["arrays", "record"])
def test_a_damaged_checkpoint_is_named_and_set_aside_and_the_one_before_it_used(
    saved, capfd, kind, part
):
    _damages(kind, _largest(saved / "20" / part))
    step, arrays, position = _restore(saved)
    assert step == 10 and position == {"read": {"shard-0": 10}}
    _assert_equal(arrays, _state(1))
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("smem: warning: the checkpoint of step 20 is damaged (")
    assert lines[0].endswith(f"it is kept as {saved}/damaged-20, and that of step 10 is used")
    assert sorted(p.name for p in saved.iterdir()) == ["10", "damaged-20"]


def test_no_damage_to_any_file_gives_other_arrays(saved, tmp_path):
    files = sorted(p.relative_to(saved) for p in (saved / "20").rglob("*") if p.is_file())
    used = set()
    for number, name in enumerate(files):
        copy = shutil.copytree(saved, tmp_path / str(number))
        _damages("cut", copy / name)
        step, arrays, _ = _restore(copy)
        _assert_equal(arrays, _state(step // 10))
        used.add(step)
    assert used == {10, 20}


@pytest.mark.slow
def test_no_changed_byte_gives_other_arrays(saved, tmp_path):
    files = sorted(path for path in (saved / "20").rglob("*") if path.is_file())
    sizes = [path.stat().st_size for path in files]
    noticed = 0
    for number, place in enumerate(np.random.default_rng(0).choice(sum(sizes), 200, replace=False)):
        index = int(np.searchsorted(np.cumsum(sizes), place, side="right"))
        copy = shutil.copytree(saved, tmp_path / str(number))
        changed = copy / files[index].relative_to(saved)
        content = bytearray(changed.read_bytes())
        content[place - sum(sizes[:index])] ^= 1 << (number % 8)
        changed.write_bytes(content)
        step, arrays, position = _restore(copy)
        _assert_equal(arrays, _state(step // 10))
        assert position == {"read": {"shard-0": step}}
        noticed += step == 10
        shutil.rmtree(copy)
    print(f"{noticed} of 200 changed bytes set the checkpoint aside; the others say nothing")
    assert noticed > 100


def test_the_run_goes_on_after_damage_and_damaged_steps_can_be_saved_again(saved):
    for _ in range(2):
        _damages("cut", _largest(saved / "20" / "arrays"))
        with _open(saved) as checkpoints:
            assert checkpoints.restore(_like(_state(0))).step == 10
            checkpoints.save(20, _state(2), {})
    names = sorted(p.name for p in saved.iterdir())
    assert names == ["10", "20", "damaged-20", "damaged-20-2"]
    assert _restore(saved).step == 20


def test_if_all_are_damaged_nothing_is_moved_and_each_is_named(saved, capfd):
    for step in ("10", "20"):
        _damages("missing", saved / step / "record" / "metadata")
    with pytest.raises(InputError, match=r"every checkpoint is damaged \(step 20: .*; step 10: "):
        _restore(saved)
    assert sorted(p.name for p in saved.iterdir()) == ["10", "20"]


def test_reading_only_changes_nothing(saved, tmp_path, capfd):
    _damages("cut", saved / "20" / "record" / "metadata")
    (saved / "30.orbax-checkpoint-tmp").mkdir()  # as by a run that is saving

    def names() -> list[Path]:
        return sorted(tmp_path.rglob("*"))

    before = names()
    for directory, step in ((saved, 10), (tmp_path / "new", None)):
        reader = RunCheckpoints(directory, keep=1, config_json=json.dumps(_CONFIG), read_only=True)
        with reader:
            found = reader.restore(_like(_state(0)))
        assert (found and found.step) == step
    assert names() == before
    assert "the checkpoint of step 20 is damaged" in capfd.readouterr().err


def test_a_state_is_saved_while_an_exception_is_handled(tmp_path):
    with _open(tmp_path) as checkpoints:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            checkpoints.save(3, _state(3), {}, wait=True)
    assert _restore(tmp_path).step == 3


def test_positions_of_processes_are_merged_and_must_not_contradict():
    arrays = {"x": jnp.zeros(2)}
    positions = [{"read": {"a": {"n": 1}}, "epoch": 2}, {"read": {"b": {"n": 5}}, "epoch": 2}]
    content = checkpoint_record.record({}, arrays, positions)["content"]
    assert content["position"] == {"read": {"a": {"n": 1}, "b": {"n": 5}}, "epoch": 2}
    assert positions[0] == {"read": {"a": {"n": 1}}, "epoch": 2}
    for other in ({"epoch": 3}, {"read": 1}, {"epoch": {"n": 2}}):
        with pytest.raises(
            ValueError, match=r"position\.\w+ is .* in one process and .* in another"
        ):
            checkpoint_record.record({}, arrays, [positions[0], other])


def test_another_configuration_is_refused_with_the_fields_that_differ(saved):
    with pytest.raises(InputError) as caught:
        _restore(saved, config={"model": {"num_blocks": 3}, "seed": 0, "objective": "sparse"})
    assert str(caught.value) == (
        f"{saved}/20 is of another configuration: model.num_blocks is 2 there and 3 here; "
        'objective is null there and "sparse" here'
    )
    assert sorted(p.name for p in saved.iterdir()) == ["10", "20"]


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda state: state["model"].update(table=jnp.zeros((32, 16), jnp.bfloat16)),
            "model.table is bfloat16[64,16] there and bfloat16[32,16] here",
        ),
        (
            lambda state: state.update(frequency=jnp.zeros(5)),
            "frequency is int32[5] there and float32[5] here",
        ),
        (lambda state: state.pop("key"), "key is uint32[2] there and missing here"),
        (
            lambda state: state.update(more=jnp.zeros(2)),
            "more is missing there and float32[2] here",
        ),
    ],
)
def test_other_arrays_are_refused_by_name(saved, change, message):
    state = _state(0)
    change(state)
    with pytest.raises(InputError) as caught:
        _restore(saved, like=_like(state))
    assert str(caught.value) == f"{saved}/20 is of another model: {message}"


def test_a_directory_that_cannot_be_made_is_an_input_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/checkpoints: Not a directory"):
        _open(tmp_path / "file" / "checkpoints")


def test_what_is_saved_on_eight_devices_is_restored_on_eight_four_and_one(tmp_path):
    script = [sys.executable, str(_FIXTURES / "other_meshes.py"), str(tmp_path / "checkpoints")]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        *(f"{n} devices: equal" for n in (8, 8, 8, 4, 1)),
        "one number per device gathered",
    ]


def test_a_full_disk_ends_the_run_with_one_line_and_the_last_good_checkpoint(tmp_path):
    own_mount.skip_unless_allowed(tmp_path)
    # Each checkpoint takes 1.5 MB, so that the third has no space.
    toy = [sys.executable, str(_FIXTURES / "toy_run.py"), "--workdir", str(tmp_path)]
    done = subprocess.run(
        own_mount.command("size=4m", tmp_path, toy), capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"smem: error: {tmp_path}/checkpoints: saving step 12 failed (no space left on the device)"
        "; the checkpoint before it is kept, and the same command goes on from there"
    ]
    assert done.stdout.splitlines()[-1] == "complete: [4, 8]"


@pytest.mark.slow
def test_a_file_limit_ends_the_run_and_it_goes_on_without_it(tmp_path):
    toy = [sys.executable, str(_FIXTURES / "toy_run.py"), "--workdir", str(tmp_path)]
    toy += ["--steps", "16"]
    done = subprocess.run([*toy, "--file-limit", "100000"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "a file would be larger than" in done.stderr and len(done.stderr.splitlines()) == 1
    done = subprocess.run(toy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("from step 4 ")
