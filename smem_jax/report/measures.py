"""What is measured before and after, as `summary.json` names it."""

from typing import Literal, NamedTuple


class Measure(NamedTuple):
    """The field `key` of a summary: an object of two numbers, `before` and `after`."""

    key: str
    label: str
    unit: Literal["share", "nats", "score"]
    more_is_better: bool


MEASURES = (
    Measure("taught_exact_match", "taught facts, asked in other words", "share", True),
    Measure("frame_exact_match", "taught facts, in another frame", "share", True),
    Measure("trained_exact_match", "taught facts, as trained on", "share", True),
    Measure("taught_answer_nll", "taught answers, NLL per token", "nats", False),
    Measure("wikitext_nll", "WikiText-2, NLL per token", "nats", False),
    Measure("nq_answer_nll", "NaturalQuestions answers, NLL per token", "nats", False),
    Measure("nq_f1", "NaturalQuestions, F1", "score", True),
)
