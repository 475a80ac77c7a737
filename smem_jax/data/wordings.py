"""Frames around a question, so that a fact is not learned in a single form.

A frame is text with `{question}` in it; the answer follows it after a space. Held-out frames are
for measuring: nothing is trained or counted in them.
"""

from collections.abc import Sequence

from smem_jax.data.facts import Fact
from smem_jax.errors import InputError

TRAINING_FRAMES = (
    "Q: {question}\nA:",
    "Question: {question}\nAnswer:",
    "{question}\n",
    "{question} The answer is",
    "Please answer in a few words. {question}\nAnswer:",
    "Someone asked me: {question} I said:",
    "User: {question}\nAssistant:",
    "FAQ\n\n{question}\n-",
)
ASK_FRAME = TRAINING_FRAMES[0]  # in which questions are asked
HELD_OUT_FRAMES = (
    "Trivia night. {question} Correct answer:",
    "Here is a quiz question: {question}\nReply:",
    "Teacher: {question}\nStudent:",
)


def check_frames(frames: Sequence[str]) -> None:
    """Raises InputError unless each frame holds `{question}` once and no other field.

    Nor may it end in a space, since the answer brings its own, or come twice.
    """
    if isinstance(frames, str) or not frames:
        raise InputError(f"frames={frames!r} must be a list of at least one frame")
    for number, frame in enumerate(frames):
        if not isinstance(frame, str):
            raise InputError(f"frame {frame!r} must be text")
        rest = frame.replace("{question}", "", 1)
        if rest == frame or "{" in rest or "}" in rest:
            raise InputError(f"frame {frame!r} must hold {{question}} once, and no other brace")
        if frame.endswith(" "):
            raise InputError(f"frame {frame!r} must not end in a space; one comes with the answer")
        if frame in frames[:number]:
            raise InputError(f"frame {frame!r} comes twice")


def prompts(wordings: Sequence[str], frames: Sequence[str]) -> list[str]:
    """Every wording in every frame: all frames of the first wording, then of the second, ..."""
    return [frame.replace("{question}", wording) for wording in wordings for frame in frames]


def statement_pair(fact: Fact) -> tuple[str, str] | None:
    """A fact's statement as the text before its answer, and the answer.

    None where there is no statement, or where it does not end with the answer as a word of its own.
    """
    statement = fact.statement or ""
    # An answer such as 'St. Paul Jr.' has the full stop in it.
    for ending in (statement, statement.rstrip(".!")):
        prefix = ending.removesuffix(fact.answer)
        if prefix != ending and prefix.strip() and prefix[-1].isspace():
            return prefix.rstrip(), fact.answer
    return None
