"""What a stream teaches: one lesson after another, each a batch of passages and some questions.

A lesson is a fact in many wordings, or a chunk of a document with its augmentations. The stream
(`smem_jax.train.stream`) knows nothing else of either.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal, NamedTuple


class Passage(NamedTuple):
    """A training sequence: `target` bears the loss, `prompt` stands before it.

    With an empty prompt all of the target but its first token is learned. Otherwise the target
    follows the prompt after a space, and a line break ends it.
    """

    prompt: str
    target: str


class Probe(NamedTuple):
    """A question about a lesson, and the answers that count as right, the taught one first.

    `kind` is 'trained' (a prompt that is trained on) or 'reworded' (in words that are not).
    """

    kind: Literal["trained", "reworded"]
    prompt: str
    accepted: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Lesson:
    """One step of a stream.

    Attributes:
      id: of the fact or the chunk.
      passages: what is trained on, a batch; all lessons of a stream have equally many.
      probes: what is asked about it, at least one.
      document: that it is a part of; '' where it stands alone.
    """

    id: str
    passages: tuple[Passage, ...]
    probes: tuple[Probe, ...]
    document: str = ""


def first_of_document(lessons: Sequence[Lesson]) -> list[int]:
    """For each lesson, the number of the first one of its document; of itself without one."""
    first: dict[str, int] = {}
    return [
        first.setdefault(lesson.document, number) if lesson.document else number
        for number, lesson in enumerate(lessons)
    ]
