"""Multiple choice, by the likelihood of the choices."""

import itertools
import string
from collections.abc import Sequence

import numpy as np

from smem_jax.data import wordings
from smem_jax.data.encode import answer_ids
from smem_jax.data.held_out import ChoiceQuestion
from smem_jax.errors import InputError
from smem_jax.evaluate.recall import Prompts
from smem_jax.evaluate.token_scores import Places, TokenScores
from smem_jax.models.pretrained import Tokenizer
from smem_jax.models.transformer import Transformer


class Lettered:
    """Questions whose choices are listed and named by letters; a letter is the answer.

    The prompt is that of MMLU (Hendrycks et al., arXiv 2009.03300) without examples and without the
    line that names the subject:

        {question}
        A. {first choice}
        B. {second choice}
        Answer:

    The choice of the model is the letter with the highest logit, the first one in a tie.
    """

    def __init__(self, tokenizer: Tokenizer, questions: Sequence[ChoiceQuestion]):
        self._right = np.asarray([question.right for question in questions], int)
        most = max((len(question.choices) for question in questions), default=0)
        before, letters = _letter_ids(tokenizer, most)
        rows, places = [], []
        for row, question in enumerate(questions):
            rows.append(tokenizer.encode(_lettered_prompt(question)) + before)
            places += [(row, len(rows[-1]) - 1, id_) for id_ in letters[: len(question.choices)]]
        self._places = Places(*np.asarray(places, np.int32).reshape(-1, 3).T)
        self._scores = TokenScores(rows, self._places, tokenizer.pad_id, "letters")

    def measure(self, model: Transformer) -> np.ndarray:
        """Whether the choice is right: bool [num_questions]."""
        nll = self._scores.measure(model).nll
        return _least(nll, self._places.row, len(self._right)) == self._right


class ByLikelihood:
    """Questions whose choices the model does not see: the likeliest one is its choice.

    Choices of different length are compared by nats per token.
    """

    def __init__(self, tokenizer: Tokenizer, questions: Sequence[ChoiceQuestion], frame: str):
        """`frame` is text with `{question}` in it; see `smem_jax.data.wordings`."""
        self._right = np.asarray([question.right for question in questions], int)
        rows = [(row, choice) for row, q in enumerate(questions) for choice in q.choices]
        asked = wordings.prompts([questions[row].question for row, _ in rows], [frame])
        self._row = np.asarray([row for row, _ in rows], int)
        self._prompts = Prompts(tokenizer, asked, [choice for _, choice in rows], "choices")

    def measure(self, model: Transformer) -> np.ndarray:
        """Whether the choice is right: bool [num_questions]."""
        nll = self._prompts.measure(model).nll
        return _least(nll, self._row, len(self._right)) == self._right


def _lettered_prompt(question: ChoiceQuestion) -> str:
    listed = zip(string.ascii_uppercase, question.choices, strict=False)
    lines = [question.question, *(f"{letter}. {choice}" for letter, choice in listed), "Answer:"]
    return "\n".join(lines)


def _letter_ids(tokenizer: Tokenizer, count: int) -> tuple[list[int], list[int]]:
    """Tokens that come before each letter, such as a space by itself, and that of each letter."""
    ids = [answer_ids(tokenizer, letter) for letter in string.ascii_uppercase[:count]]
    before = ids[0][:-1] if ids else []
    if any(row[:-1] != before for row in ids):
        raise InputError(
            f"the tokenizer cuts the letters A to {string.ascii_uppercase[count - 1]} unlike"
        )
    return before, [row[-1] for row in ids]


def _least(values: np.ndarray, row: np.ndarray, num_rows: int) -> np.ndarray:
    """The place of the least value within each row, the first one in a tie: int [num_rows]."""
    starts = np.searchsorted(row, np.arange(num_rows + 1))
    return np.asarray([values[a:b].argmin() for a, b in itertools.pairwise(starts)], int)
