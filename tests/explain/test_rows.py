"""Rows of a fact and the roles of their tokens, with a tokenizer whose tokens are bytes."""

import numpy as np
import pytest
import tiny_llama

from smem_jax.data.facts import Fact
from smem_jax.errors import InputError
from smem_jax.explain.rows import ROLES, rows_of, token_ends
from smem_jax.models.pretrained import Tokenizer, load

_LETTERS = dict(enumerate("fqnea"))  # one for each role
_FACT = Fact(
    id="1",
    question="Who led Berrien Springs, Ohio?",
    answer="Zoë",
    paraphrases=("Berrien's head in 1998 was who?",),
)
_FRAMES = ("Q: {question}\nA:", "{question} I say")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Tokenizer:
    folder = tiny_llama.write(tmp_path_factory.mktemp("model"), "linear_rope")
    return load(str(folder)).tokenizer


def _roles(rows, row: int) -> str:
    return "".join(_LETTERS[role] for role in rows.roles[row, rows.mask[row]].tolist())


def test_each_byte_has_the_role_of_what_it_stands_in(tokenizer):
    rows = rows_of(tokenizer, _FACT, _FRAMES, 64)
    assert len(ROLES) == len(_LETTERS)
    assert rows.texts[0] == "Q: Who led Berrien Springs, Ohio?\nA: Zoë\n"
    # 'Who' begins the question, so its capital letter says nothing. 'ë' is two bytes.
    assert _roles(rows, 0) == "fff" + "qqqqqqqq" + "n" * 14 + "e" + "qq" + "nnne" + "q" + "fff" + (
        "a" * 6
    )
    assert _roles(rows, 1) == _roles(rows, 0)[3:-9] + "f" * 6 + "a" * 6
    # A first word that is a name elsewhere is one here, too; "Berrien's" is another word.
    assert _roles(rows, 2)[3:] == "q" * 18 + "nnne" + "q" * 9 + "fff" + "a" * 6


def test_a_first_word_counts_as_a_name_if_it_is_one_in_another_wording(tokenizer):
    fact = Fact("1", "Ohio is where?", "here", paraphrases=("Where is Ohio?",))
    rows = rows_of(tokenizer, fact, ("{question}\n",), 64)
    assert _roles(rows, 0).startswith("nnneqqq")
    assert _roles(rows, 1).startswith("qqqqqqqqqnnneq")


def test_rows_are_all_frames_of_each_wording_and_can_be_cut_to_their_tokens(tokenizer):
    rows = rows_of(tokenizer, _FACT, _FRAMES, 64)
    assert rows.tokens.shape == rows.mask.shape == rows.roles.shape == (4, 64)
    for row, text in enumerate(rows.texts):
        assert tokenizer.decode(rows.tokens[row, rows.mask[row]].tolist()) == text
        assert rows.ends[row][-1] == len(text)
    longest = int(rows.mask.sum(axis=1).max())
    short = rows.cut(longest)
    np.testing.assert_array_equal(short.tokens, rows.tokens[:, :longest])
    assert short.roles.shape == short.mask.shape == (4, longest)
    assert short.mask.sum() == rows.mask.sum()


def test_a_character_of_two_tokens_ends_with_the_second(tokenizer):
    text = "aë\nb"
    assert token_ends(tokenizer, tokenizer.encode(text), text) == [1, 1, 2, 3, 4]


def test_a_row_that_is_too_long_is_refused_with_its_fact(tokenizer):
    with pytest.raises(InputError, match=r"Berrien Springs.*the sequence length is 30"):
        rows_of(tokenizer, _FACT, _FRAMES, 30)
