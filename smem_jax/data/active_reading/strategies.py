"""Ways to study a chunk, each of which rewrites its notes in a form of its own.

The forms bring in no number and no name: what an augmentation says is the chunk's.
"""

import random
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from smem_jax.data.active_reading.augmenter import QuestionAnswer
from smem_jax.data.active_reading.notes import Note, stopped
from smem_jax.data.wordings import TRAINING_FRAMES
from smem_jax.errors import InputError

_FACTS = (
    "The {label} of {subject}: {text}",
    "In {subject}, the {label} is given as {text}",
    "{subject} has this {label}: {text}",
    "For {subject}, the entry on {label} reads: {text}",
    "Looking up {label} for {subject}, one finds {text}",
    "What is recorded for {subject} under {label} is {text}",
    "{text}: this is the {label} of {subject}",
    "On {label}, the profile of {subject} says: {text}",
)
_LABELLED_SENTENCES = (
    "On {label} in {subject}: {text}",
    "{subject} ({label}): {text}",
    "As to the {label} of {subject}: {text}",
    "{text} This is about {subject}, {label}.",
)
_SENTENCES = (
    "{text}",
    "{subject}: {text}",
    "About {subject}: {text}",
    "It is said of {subject}: {text}",
    "{text} This is about {subject}.",
    "Worth knowing about {subject}: {text}",
)
_CUES = (
    "what is recorded about {label}?",
    "what is there to say about {label}?",
    "what does the entry {label} contain?",
    "what do the notes have on {label}?",
)
_BLANK = "____"
_WORD = re.compile(r"(?<=\s)(?:[A-Z][\w'-]+|(?:\d[\d,.]*)?\d%?)(?![\w%]|[.,]\d)")
QUESTION_FRAME = TRAINING_FRAMES[1]  # 'Question: ...\nAnswer:', in which probes are asked, too
_ASKED_FRAMES = (QUESTION_FRAME, *(frame for frame in TRAINING_FRAMES if frame != QUESTION_FRAME))


class Study(NamedTuple):
    """What a strategy works on."""

    subject: str
    notes: Sequence[Note]
    quiz: Sequence[QuestionAnswer]
    rng: random.Random
    turn: int  # how often the strategy had its turn on this chunk before

    def shuffled(self) -> list[Note]:
        """The notes in another order."""
        return self.rng.sample(self.notes, len(self.notes))

    def say(self, note: Note) -> str:
        """A sentence that states a note and names its subject, or as it stands."""
        labelled = _LABELLED_SENTENCES if note.label else ()
        form = self.rng.choice(_FACTS if note.is_fact else (*labelled, *_SENTENCES))
        return stopped(form.format(subject=self.subject, label=note.label, text=note.text))

    def ask(self) -> list[tuple[str, str]]:
        """Questions and answers in mixed order: each of the quiz, and one on each labelled note."""
        turn = self.turn
        asked = [(item.wordings[turn % len(item.wordings)], item.answer) for item in self.quiz]
        for note in self.notes:
            if note.label:
                cue = self.rng.choice(_CUES).format(label=note.label)
                asked.append((f"For {self.subject}, {cue}", note.text))
        return self.rng.sample(asked, len(asked))


def _restate(study: Study) -> list[str]:
    return [study.say(note) for note in study.shuffled()]


def _recite(study: Study) -> list[str]:
    return [f"{note.label}: {note.text}" if note.label else note.text for note in study.shuffled()]


def _questions(study: Study) -> list[str]:
    turn = study.turn
    quiz = [(item.wordings[turn % len(item.wordings)], item.answer) for item in study.quiz]
    asked = study.rng.sample(quiz, len(quiz)) or study.ask()
    return [f"{QUESTION_FRAME.format(question=question)} {answer}" for question, answer in asked]


def _frames(study: Study) -> list[str]:
    return [
        f"{study.rng.choice(TRAINING_FRAMES).format(question=question)} {answer}"
        for question, answer in study.ask()
    ]


def _asked(study: Study) -> list[str]:
    """One question of the quiz, and its answer: with each turn another wording and frame."""
    if not study.quiz:
        return []
    turn, number = divmod(study.turn, len(study.quiz))
    turn, place = divmod(turn, len(_ASKED_FRAMES))
    wordings = study.quiz[number].wordings
    question = wordings[(place + turn) % len(wordings)]
    return [f"{_ASKED_FRAMES[place].format(question=question)} {study.quiz[number].answer}"]


def _self_quiz(study: Study) -> list[str]:
    return [f"{question}\n(I recall it.) {answer}" for question, answer in study.ask()]


def _flash_cards(study: Study) -> list[str]:
    return [f"Front: {question}\nBack: {answer}" for question, answer in study.ask()]


def _dialogue(study: Study) -> list[str]:
    lines = [f"Teacher: {question}\nStudent: {stopped(answer)}" for question, answer in study.ask()]
    loose = [note for note in study.notes if not note.label]
    lines += [f"Teacher: What else of {study.subject}?\nStudent: {study.say(n)}" for n in loose]
    return study.rng.sample(lines, len(lines))


def _bullets(study: Study) -> list[str]:
    lead = study.rng.choice(("- ", "* ", "• "))
    return [lead + study.say(note) for note in study.shuffled()]


def _headings(study: Study) -> list[str]:
    forms = ("## {label} in {subject}", "## {subject}: {label}", "## The {label} of {subject}")
    form = study.rng.choice(forms)
    labels = dict.fromkeys(note.label for note in study.shuffled() if note.label)
    return [
        form.format(subject=study.subject, label=label)
        + "\n"
        + " ".join(note.text for note in study.notes if note.label == label)
        for label in labels
    ]


def _timeline(study: Study) -> list[str]:
    dated = [(note.year, note) for note in study.notes if note.year is not None]
    lead = study.rng.choice(("{}: ", "[{}] ", "Year {} - "))
    in_order = sorted(dated, key=lambda item: item[0])
    return [lead.format(year) + study.say(note) for year, note in in_order]


def _cloze(study: Study) -> list[str]:
    items = []
    for note in study.shuffled():
        # The whole of a fact is hidden; of a sentence a number or a capitalised word within it.
        words = list(_WORD.finditer(note.text))
        if note.is_fact:
            start, end = 0, len(note.text)
        elif words:
            start, end = study.rng.choice(words).span()
        else:
            continue
        gapped = note._replace(text=note.text[:start] + _BLANK + note.text[end:])
        items.append(f"{study.say(gapped)}\nMissing: {note.text[start:end]}")
    return items


def _association(study: Study) -> list[str]:
    forms = (
        "Think of {subject}, think of {label}: {text}",
        "{subject} goes with {label}, and {label} with {text}",
        "{subject} -> {label} -> {text}",
    )
    form = study.rng.choice(forms)
    return [
        form.format(subject=study.subject, label=note.label or "this", text=note.text)
        for note in study.shuffled()
    ]


def _reverse(study: Study) -> list[str]:
    return [
        f"{note.text} - which entry of {study.subject} is this? It is the {note.label}."
        for note in study.shuffled()
        if note.is_fact
    ]


def _table(study: Study) -> list[str]:
    return [f"| {study.subject} | {n.label} | {n.text} |" for n in study.shuffled() if n.label]


class Strategy(NamedTuple):
    """A way to study: items, of which as many as fit follow one of the headings.

    `{title}` and `{subject}` of a heading are those of the chunk. Without headings, the first item
    stands alone.
    """

    name: str
    items: Callable[[Study], list[str]]
    headings: tuple[str, ...]
    separator: str = "\n"


# Questions come twice a round: it is in this form that a chunk is asked about later.
STRATEGIES = (
    Strategy(
        "questions", _questions, ("{title}", "Quiz on {title}", "What to know: {title}"), "\n\n"
    ),
    Strategy(
        "restate", _restate, ("{title}", "{title}, in other words.", "Put again: {title}."), " "
    ),
    Strategy("bullets", _bullets, ("Key facts: {title}", "{title}, in brief:", "To keep in mind:")),
    Strategy("frames", _frames, ("{title}", "Mixed questions on {subject}", "{subject}"), "\n\n"),
    Strategy("cloze", _cloze, ("Fill the blanks: {title}", "{title}, with gaps", "Gaps:"), "\n\n"),
    Strategy("self_quiz", _self_quiz, ("I test myself on {title}.", "Do I still know {title}?")),
    Strategy("recite", _recite, ("{title}", "{title}, from memory:", "By heart: {title}")),
    Strategy("dialogue", _dialogue, ("A lesson on {title}", "In class: {title}", "{title}")),
    Strategy(
        "questions", _questions, ("Exam: {title}", "Questions on {subject}", "{title}"), "\n\n"
    ),
    Strategy("headings", _headings, ("# {title}", "# Notes on {title}", "# {subject}"), "\n\n"),
    Strategy("association", _association, ("{title}", "To link with {subject}:", "Links: {title}")),
    Strategy(
        "flash_cards", _flash_cards, ("Cards: {title}", "{title}, on cards", "{title}"), "\n\n"
    ),
    Strategy("timeline", _timeline, ("{title}, by year:", "Years in {title}", "By date: {title}")),
    Strategy(
        "reverse", _reverse, ("{title}, backwards:", "From entry to name: {title}", "{title}")
    ),
    Strategy("table", _table, ("{title}", "| subject | entry | content |", "Table: {title}")),
)

# Nothing stands before a question when it is asked later; what a memory layer reads depends on it.
ASKED = Strategy("asked", _asked, ())
_BY_NAME = {strategy.name: strategy for strategy in (*STRATEGIES, ASKED)}


def named(names: Sequence[str]) -> tuple[Strategy, ...]:
    """The strategies of these names, in this order; one may come several times.

    Raises InputError for a name that no strategy has.
    """
    for name in names:
        if name not in _BY_NAME:
            raise InputError(f"strategy {name!r} must be one of {', '.join(_BY_NAME)}")
    return tuple(_BY_NAME[name] for name in names)
