"""A stream of lessons out of profiles: each chunk with its augmentations and its questions."""

import random
from collections.abc import Sequence
from typing import NamedTuple

import tqdm

from smem_jax.data.active_reading import Augmenter, QuestionAnswer
from smem_jax.data.active_reading.augmenter import Encoder
from smem_jax.data.active_reading.strategies import QUESTION_FRAME
from smem_jax.data.factbook.chunks import Chunk, chunks
from smem_jax.data.factbook.profiles import Profile
from smem_jax.data.factbook.questions import Question, questions
from smem_jax.data.lessons import Lesson, Passage, Probe
from smem_jax.data.wordings import TRAINING_FRAMES, prompts


class DocumentLessons(NamedTuple):
    """Lessons in the order of the documents, and how many chunks were left out, by reason."""

    lessons: list[Lesson]
    left_out: dict[str, int]


def quiz(title: str, text: str) -> list[QuestionAnswer]:
    """A chunk's questions in their training wordings, for `active_reading.BuiltIn`."""
    return [QuestionAnswer(q.trained, q.accepted[0]) for q in questions(title, text)]


def lessons(
    profiles: Sequence[Profile],
    augmenter: Augmenter,
    tokenizer: Encoder,
    *,
    chunk_tokens: int,
    passages: int,
    seed: int,
    max_lessons: int | None = None,
) -> DocumentLessons:
    """The chunks of the profiles as lessons, as in document learning of arXiv 2510.15103.

    The `passages` of a lesson are augmentations of its chunk. All tokens of one are learned, but
    for those of a question where it is nothing else than that and the answer. For each question of
    the chunk there is a probe in a wording that stands in one of them, if there is such a one, and
    a reworded probe in a wording that stands in none. A chunk without a probe is left out; no
    augmentation is asked for where it has no question. `max_lessons` stops early.

    Raises InputError where a word is longer than a chunk, and what `augmenter` raises.
    """
    made: list[Lesson] = []
    left_out = {"no_question": 0, "no_probe": 0}
    cut = [
        (profile, chunk)
        for profile in profiles
        for chunk in chunks(profile, tokenizer, chunk_tokens)
    ]
    for profile, chunk in tqdm.tqdm(cut, desc="augmenting chunks", delay=2):
        if len(made) == max_lessons:
            break
        asked = questions(chunk.title, chunk.text)
        if not asked:
            left_out["no_question"] += 1
            continue
        texts = augmenter.augment(chunk.title, chunk.text, passages, seed)
        probes = _probes(chunk, asked, texts, seed)
        if not probes:
            left_out["no_probe"] += 1
            continue
        alone = _alone(asked)
        learned = tuple(alone.get(text, Passage("", text)) for text in texts)
        made.append(Lesson(chunk.id, learned, probes, document=profile.code))
    return DocumentLessons(made, left_out)


def _alone(asked: Sequence[Question]) -> dict[str, Passage]:
    """Each text that is a question in a training wording and its answer, as it is learned."""
    return {
        f"{prompt} {question.accepted[0]}": Passage(prompt, question.accepted[0])
        for question in asked
        for prompt in prompts(question.trained, TRAINING_FRAMES)
    }


def _probes(
    chunk: Chunk, asked: Sequence[Question], texts: Sequence[str], seed: int
) -> tuple[Probe, ...]:
    """At most one probe of each kind for each question.

    What was trained on is looked up in the texts: an augmenter need not know the wordings, and a
    model may come upon a held-out one by itself.
    """
    learned = "\n".join(texts).casefold()
    rng = random.Random(f"{seed}/{chunk.id}")
    probes = []
    for question in asked:
        trained = [_prompt(wording) for wording in question.trained]
        trained = [prompt for prompt in trained if prompt.casefold() in learned]
        if trained:
            probes.append(Probe("trained", rng.choice(trained), question.accepted))
        held_out = [w for w in question.held_out if w.casefold() not in learned]
        if held_out:
            probes.append(Probe("reworded", _prompt(rng.choice(held_out)), question.accepted))
    return tuple(probes)


def _prompt(wording: str) -> str:
    return QUESTION_FRAME.format(question=wording)
