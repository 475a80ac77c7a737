"""The forgetting matrix against its definition."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smem_jax.data.lessons import Lesson, Passage, Probe
from smem_jax.errors import InputError
from smem_jax.train import recall_matrix
from smem_jax.train.recall_matrix import RecallMatrix


class _Right(NamedTuple):
    right: np.ndarray


class _Prompts:
    """Stands for a model that knows the answers to some prompts."""

    def __init__(self, tokenizer, prompts, answers):
        self._prompts = prompts

    def measure(self, known: set[str]) -> _Right:
        return _Right(np.asarray([prompt in known for prompt in self._prompts]))


def _lesson(number: int) -> Lesson:
    probes = (
        Probe("trained", f"t{number}", ("x",)),
        Probe("reworded", f"r{number}a", ("x",)),
        Probe("reworded", f"r{number}b", ("x",)),
    )
    return Lesson(str(number), (Passage("p", "x"),), probes)


@pytest.fixture(autouse=True)
def _without_a_model(monkeypatch):
    monkeypatch.setattr(recall_matrix, "Prompts", _Prompts)


@given(
    st.integers(1, 4),
    st.lists(
        st.sets(st.sampled_from([f"r{n}{p}" for n in range(5) for p in "ab"])),
        min_size=10,
        max_size=10,
    ),
)
def test_figures_are_those_of_the_definition(every, known):
    """`known` has what the model answers right after each step, then at each evaluation."""
    matrix = RecallMatrix(None, [_lesson(n) for n in range(5)], every)
    rows = []
    for number in range(5):
        matrix.measure_one(known[number], number)
        if (number + 1) % every == 0 or number == 4:
            rows.append(known[5 + number])
            matrix.measure(known[5 + number], number + 1)
    learned = np.asarray([_share(known[n], n) for n in range(5)])
    last = np.asarray([_share(rows[-1], n) for n in range(5)])
    figures = matrix.figures()
    assert figures["reworded"] == pytest.approx(last.mean())
    assert figures["learned_reworded"] == pytest.approx(learned.mean())
    assert figures["backward_transfer"] == pytest.approx((last - learned).mean())
    if learned.any():
        assert figures["first_100_kept"] == pytest.approx(last.mean() / learned.mean())
    blocks = matrix.compact()["blocks"]
    assert blocks[-1] == [
        pytest.approx(last[start : start + every].mean(), abs=1e-4) for start in range(0, 5, every)
    ]


def _share(known: set[str], number: int) -> float:
    return np.mean([f"r{number}{part}" in known for part in "ab"])


def test_what_was_written_after_a_checkpoint_is_dropped(tmp_path):
    lessons = [_lesson(n) for n in range(4)]
    matrix = RecallMatrix(None, lessons, 2)
    for number in range(4):
        matrix.measure_one({f"t{number}"}, number)
        if number % 2:
            matrix.measure({"t0", f"t{number}"}, number + 1)
    matrix.save(tmp_path / "matrix.npz")
    again = RecallMatrix(None, lessons, 2)
    again.restore(tmp_path / "matrix.npz", 2)
    assert again.after == [2]
    np.testing.assert_array_equal(again.rows["trained"][0], [1, 1, np.nan, np.nan])
    np.testing.assert_array_equal(again.learned["trained"], [1, 1, np.nan, np.nan])
    with pytest.raises(InputError, match=r"matrix\.npz is of other lessons"):
        RecallMatrix(None, [*lessons[:3], _lesson(7)], 2).restore(tmp_path / "matrix.npz", 2)
