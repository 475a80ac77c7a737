"""Exact match and F1 as the SQuAD evaluation gives them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smem_jax.evaluate import score

_words = st.lists(st.sampled_from(["a", "The", "cat", "sat", "mat.", "on"]), max_size=5).map(
    " ".join
)


@pytest.mark.parametrize(
    ("prediction", "answers", "exact", "f1"),
    [
        ("The Beatles!", ["beatles"], 1, 1),
        ("a cat sat", ["the cat"], 0, 2 / 3),
        ("Paris", ["London", "paris."], 1, 1),
        ("", ["x"], 0, 0),
        ("the", ["a"], 0, 0),
        ("", ["A+"], 0, 0),
        ("a+.", ["A+"], 0, 0),
        ("a+", ["B", "A+"], 1, 1),
        ("x x y", ["x"], 0, 0.5),
        ("Rome", [], 0, 0),
    ],
)
def test_cases_worked_out_by_hand(prediction, answers, exact, f1):
    assert score.exact_match(prediction, answers) == exact
    assert score.f1(prediction, answers) == pytest.approx(f1)


@given(_words, _words)
def test_f1_is_symmetric_bounded_and_1_for_an_exact_match(one, other):
    found = score.f1(one, [other])
    assert 0 <= found <= 1
    assert found == pytest.approx(score.f1(other, [one]))
    if score.exact_match(one, [other]):
        assert found == 1


@given(st.text(max_size=30))
def test_normalising_twice_changes_nothing(text):
    once = score.normalize(text)
    # Only lower-casing can bring forth new characters, and only outside of ASCII.
    if text.isascii() and not set(once.split()) & {"a", "an", "the"}:
        assert score.normalize(once) == once
