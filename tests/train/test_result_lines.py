"""What a line keeps of a work directory."""

import json

import numpy as np
import pytest

from smem_jax.errors import InputError
from smem_jax.train import result_lines


def test_items_survive_packing():
    assert result_lines.pack(np.array([1.0, 0.0, 1.0])) == "101"
    np.testing.assert_array_equal(result_lines.unpack("101"), [1, 0, 1])
    values = np.random.default_rng(0).normal(size=50).astype(np.float32)
    packed = json.loads(json.dumps(result_lines.pack(values)))
    np.testing.assert_allclose(result_lines.unpack(packed), values, atol=5.1e-5)


def test_items_of_a_work_directory(tmp_path):
    assert result_lines.items(tmp_path) == {}
    np.savez(tmp_path / "before.npz", known=np.ones(4), nq_f1=np.array([0.25, 0.5]), other=[1])
    assert result_lines.items(tmp_path) == {}
    np.savez(tmp_path / "after.npz", known=np.array([1, 1, 0, 1]), nq_f1=np.array([0.2, 0.5]))
    assert result_lines.items(tmp_path) == {}
    none = np.nan
    np.savez(
        tmp_path / "matrix.npz",
        learned_reworded=np.array([1, none, 0.5]),
        reworded=np.array([[1, none, none], [0, none, 0.5]]),
        learned_trained=np.full(3, none),
        trained=np.full((2, 3), none),
    )
    assert result_lines.items(tmp_path) == {
        "recall_reworded": {"before": [1.0, 0.5], "after": [0.0, 0.5]},
        "known": {"before": "1111", "after": "1101"},
        "nq_f1": {"before": [0.25, 0.5], "after": [0.2, 0.5]},
    }


def test_a_line_of_too_many_brackets_is_named_and_as_the_last_one_passed_over(tmp_path):
    path, brackets = tmp_path / "results.jsonl", "[" * 100_000
    path.write_text('{"name": "a"}\n' + brackets)
    assert result_lines.read(path) == [(f"{path}:1", {"name": "a"})]
    path.write_text(f'{brackets}\n{{"name": "a"}}\n')
    with pytest.raises(InputError, match=r"results\.jsonl:1: expected a JSON object, got b'\[\["):
        result_lines.read(path)
