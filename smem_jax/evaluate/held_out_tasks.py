"""The tasks of the held-out suite: each reads its file, encodes it once and measures any model.

A task gives arrays by the names of the figures, a value for each item.
"""

from collections.abc import Sequence

import numpy as np

from smem_jax.data import wordings
from smem_jax.data.held_out import ChoiceQuestion, KnownQuestion, Problem
from smem_jax.data.questions import Question
from smem_jax.errors import InputError
from smem_jax.evaluate import generate, score
from smem_jax.evaluate.choices import ByLikelihood, Lettered
from smem_jax.evaluate.recall import Prompts
from smem_jax.evaluate.token_scores import Places, TokenScores
from smem_jax.models.pretrained import Tokenizer
from smem_jax.models.transformer import Transformer

_WINDOW = 256  # predictions of running text in one item


class Known:
    """`known`, 1 where a question is still answered right, and `known_nll` of the base's answer."""

    def __init__(
        self, tokenizer: Tokenizer, questions: Sequence[KnownQuestion], max_new_tokens: int
    ):
        """Raises InputError where what the base said is not an accepted answer."""
        for question in questions:
            if not score.exact_match(question.said, question.answers):
                raise InputError(
                    f"question {question.id!r}: said={question.said!r} must be one of its answers "
                    f"{list(question.answers)}"
                )
        self._asked = _Asked(
            tokenizer,
            [question.question for question in questions],
            [question.said for question in questions],
            [question.answers for question in questions],
            max_new_tokens,
        )

    def measure(self, model: Transformer) -> dict[str, np.ndarray]:
        """float64 [num_questions] each."""
        right, nll = self._asked.measure(model)
        return {"known": right, "known_nll": nll}


class Untaught:
    """`untaught_exact`, 1 where a question is answered right, `untaught_nll` of its first answer.

    The questions are like the taught ones but none of them: what rises here was not taught.
    """

    def __init__(self, tokenizer: Tokenizer, questions: Sequence[Question], max_new_tokens: int):
        self._asked = _Asked(
            tokenizer,
            [question.question for question in questions],
            [question.answers[0] for question in questions],
            [question.answers for question in questions],
            max_new_tokens,
        )

    def measure(self, model: Transformer) -> dict[str, np.ndarray]:
        """float64 [num_questions] each."""
        right, nll = self._asked.measure(model)
        return {"untaught_exact": right, "untaught_nll": nll}


class _Asked:
    """Questions in the first frame: generated answers are needed where the expected one fails."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        questions: Sequence[str],
        expected: Sequence[str],
        accepted: Sequence[Sequence[str]],
        max_new_tokens: int,
    ):
        self._tokenizer, self._max_new_tokens = tokenizer, max_new_tokens
        self._asked = wordings.prompts(questions, [wordings.ASK_FRAME])
        self._accepted = accepted
        self._expected = Prompts(tokenizer, self._asked, expected, "expected answers")

    def measure(self, model: Transformer) -> tuple[np.ndarray, np.ndarray]:
        """Exact match and nats per token of the expected answer: float64 [num_questions] each."""
        followed = self._expected.measure(model)
        right = followed.right.astype(np.float64)
        others = np.flatnonzero(~followed.right).tolist()
        asked = [self._asked[index] for index in others]
        answers = generate.answers(model, self._tokenizer, asked, self._max_new_tokens)
        for index, answer in zip(others, answers, strict=True):
            right[index] = score.exact_match(answer, self._accepted[index])
        return right, followed.nll


class NaturalQuestions:
    """`nq_f1`, `nq_exact` of greedy answers, `nq_nll` of the first accepted answer.

    The prompt is that of the task nq_open in EleutherAI's lm-evaluation-harness (version 4.0):

        Answer these questions:

        Q: {question of an example}?
        A: {its answer}
        Q: {question}?
        A:

    There, an answer ends at a full stop or a comma, too; here, at a line break alone. F1 and exact
    match are those of `evaluate.score`.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        questions: Sequence[Question],
        shots: Sequence[Question],
        max_new_tokens: int,
    ):
        self._tokenizer, self._max_new_tokens = tokenizer, max_new_tokens
        self._questions = questions
        examples = [f"{_nq_question(shot)} {shot.answers[0]}\n" for shot in shots]
        beginning = "Answer these questions:\n\n" + "".join(examples)
        self._asked = [beginning + _nq_question(question) for question in questions]
        first = [question.answers[0] for question in questions]
        self._first = Prompts(tokenizer, self._asked, first, "NaturalQuestions answers")

    def measure(self, model: Transformer) -> dict[str, np.ndarray]:
        """float64 [num_questions] each."""
        said = generate.answers(model, self._tokenizer, self._asked, self._max_new_tokens)
        pairs = [(text, q.answers) for text, q in zip(said, self._questions, strict=True)]
        return {
            "nq_f1": np.asarray([score.f1(*pair) for pair in pairs], float),
            "nq_exact": np.asarray([score.exact_match(*pair) for pair in pairs], float),
            "nq_nll": self._first.measure(model).nll,
        }


def _nq_question(question: Question) -> str:
    # The published questions come without a question mark.
    return f"Q: {question.question.removesuffix('?')}?\nA:"


class GSM8K:
    """`gsm8k_nll`: nats per token of the published solution, behind 'Question: ...', 'Answer:'.

    The prompt is that of the task gsm8k in EleutherAI's lm-evaluation-harness, without examples.
    """

    def __init__(self, tokenizer: Tokenizer, problems: Sequence[Problem]):
        asked = [f"Question: {problem.question}\nAnswer:" for problem in problems]
        solutions = [problem.solution for problem in problems]
        self._solutions = Prompts(tokenizer, asked, solutions, "GSM8K solutions")

    def measure(self, model: Transformer) -> dict[str, np.ndarray]:
        """float64 [num_problems]."""
        return {"gsm8k_nll": self._solutions.measure(model).nll}


class RunningText:
    """`wikitext_nll`: nats per token of windows of 256 predictions.

    The paragraphs are one stream of tokens, cut into these. What is left at the end and does not
    fill a window is not measured, so that all items weigh the same.
    """

    def __init__(self, tokenizer: Tokenizer, texts: Sequence[str], limit: int | None = None):
        """Takes the first `limit` windows; InputError for text that does not fill one."""
        stream = np.concatenate(tokenizer.encode_batch([f"{text}\n" for text in texts]))
        count = (len(stream) - 1) // _WINDOW
        if not count:
            raise InputError(f"text of {len(stream)} tokens; at least {_WINDOW + 1} are needed")
        self._count = count if limit is None else min(count, limit)
        scored = self._count * _WINDOW
        number = np.arange(scored, dtype=np.int32)
        places = Places(number // _WINDOW, number % _WINDOW, stream[1 : scored + 1])
        rows = stream[:scored].reshape(-1, _WINDOW).tolist()
        self._scores = TokenScores(rows, places, tokenizer.pad_id, "running text")

    def measure(self, model: Transformer) -> dict[str, np.ndarray]:
        """float64 [num_windows]."""
        nll = self._scores.measure(model).nll
        return {"wikitext_nll": nll.reshape(self._count, _WINDOW).mean(axis=1)}


class MMLU:
    """`mmlu_accuracy`, 1 where the letter of the right option is the likeliest; see `Lettered`."""

    def __init__(self, tokenizer: Tokenizer, questions: Sequence[ChoiceQuestion]):
        self._choices = Lettered(tokenizer, questions)

    def measure(self, model: Transformer) -> dict[str, np.ndarray]:
        """float64 [num_questions]."""
        return {"mmlu_accuracy": self._choices.measure(model).astype(float)}


class TriviaChoices:
    """`trivia_choices_accuracy`, 1 where the right choice is the likeliest per token."""

    def __init__(self, tokenizer: Tokenizer, questions: Sequence[ChoiceQuestion]):
        self._choices = ByLikelihood(tokenizer, questions, wordings.ASK_FRAME)

    def measure(self, model: Transformer) -> dict[str, np.ndarray]:
        """float64 [num_questions]."""
        return {"trivia_choices_accuracy": self._choices.measure(model).astype(float)}
