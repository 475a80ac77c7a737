"""Records as plain text, as a model reads them in a stream of documents."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from smem_jax.errors import InputError


def question_text(question: str, answer: str, choices: Sequence[str] = ()) -> str:
    """A question and its answer, with the choices between them where there are any.

    >>> print(question_text("Which is a bird?", "wren", ["newt", "wren"]))
    Question: Which is a bird?
    A. newt
    B. wren
    Answer: wren
    """
    lettered = [f"{chr(ord('A') + number)}. {choice}" for number, choice in enumerate(choices)]
    return "\n".join([f"Question: {question}", *lettered, f"Answer: {answer}"])


class View(NamedTuple):
    """How a record of a public data set becomes text, and which of its features that takes.

    A feature is True for the whole of it, or the wanted features within it.
    """

    features: dict[str, Any]
    text: Callable[[dict[str, Any]], str]


def _trivia_qa(record: dict[str, Any]) -> str:
    return question_text(record["question"], record["answer"]["value"])


def _natural_questions(record: dict[str, Any]) -> str:
    """With the short answer of an annotator; else yes or no; else the passage that answers it."""
    question, annotations = record["question"]["text"], record["annotations"]
    for short in annotations["short_answers"]["text"]:
        if short:
            return question_text(question, ", ".join(short))
    for answer in annotations["yes_no_answer"]:
        if answer >= 0:
            return question_text(question, ("no", "yes")[answer])
    tokens = record["document"]["tokens"]
    long = annotations["long_answer"]
    for begin, end in zip(long["start_token"], long["end_token"], strict=True):
        if 0 <= begin < end:
            words = zip(tokens["token"][begin:end], tokens["is_html"][begin:end], strict=True)
            return question_text(question, " ".join(word for word, is_html in words if not is_html))
    return f"Question: {question}"


def _hellaswag(record: dict[str, Any]) -> str:
    """The context with its right ending; by itself where the label is kept back (-1)."""
    if record["label"] < 0:
        return record["context"]
    return f"{record['context']} {record['endings'][record['label']]}"


def _article(record: dict[str, Any]) -> str:
    return f"{record['title']}\n\n{record['text']}"


_QUESTION = View(
    {"question": True, "answer": True},
    lambda record: question_text(record["question"], record["answer"]),
)
_TEXT = View({"text": True}, lambda record: record["text"])
_VIEWS = {
    "trivia_qa": View({"question": True, "answer": {"value": True}}, _trivia_qa),
    "natural_questions": View(
        {
            "question": {"text": True},
            "annotations": True,
            "document": {"tokens": True},
        },
        _natural_questions,
    ),
    "hellaswag": View({"context": True, "endings": True, "label": True}, _hellaswag),
    "wikipedia": View({"title": True, "text": True}, _article),
}


def view(name: str, features: Sequence[str]) -> View:
    """How records of a data set of that name, with those features, become text.

    Any data set with a feature `text`, or with `question` and `answer` as texts, will do. Raises
    InputError for another one.
    """
    found = _VIEWS.get(name)
    if found is not None and set(found.features) <= set(features):
        return found
    if "text" in features:
        return _TEXT
    if {"question", "answer"} <= set(features):
        return _QUESTION
    raise InputError(
        f"data set {name!r}: its features {', '.join(sorted(features))} hold neither 'text' nor "
        "'question' and 'answer', so they make no document"
    )


def strings(value: Any) -> Any:
    """A record with every bytes object in it as text."""
    if isinstance(value, dict):
        return {name: strings(item) for name, item in value.items()}
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype == object):
        return [strings(item) for item in value]
    return value
