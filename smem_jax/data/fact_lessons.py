"""Facts as lessons: a fact in many wordings and frames, and questions in wordings kept apart."""

from collections.abc import Callable, Sequence

import numpy as np

from smem_jax.data import wordings
from smem_jax.data.facts import Fact
from smem_jax.data.lessons import Lesson, Passage, Probe
from smem_jax.data.rewording import Wordings
from smem_jax.data.rewording.text import normalized


def lesson(
    fact: Fact, reworded: Wordings, frames: Sequence[str], passages: int, probes: int, seed: int
) -> Lesson:
    """The lesson of a fact: `passages` training sequences, `probes` held-out questions at most.

    The first passage is the question itself in the first frame. The others take the fact's own
    paraphrases in their order, then the training wordings in random order, each time in the next
    frame; where these are fewer than `passages` they come again in other frames. What the fact
    holds out is not among them.

    Args:
      reworded: of the question, by `smem_jax.data.rewording.reword`.
      seed: of the order of the training wordings.
    """
    random = np.random.default_rng((seed, *fact.id.encode()))
    by_rule = [w for w in reworded.training if w not in fact.held_out]
    shuffled = (by_rule[i] for i in random.permutation(len(by_rule)))
    texts = [fact.question, *fact.paraphrases, *shuffled]
    prompts = []
    for number in range(passages):
        turn, place = divmod(number, len(texts))
        frame = frames[(place + turn) % len(frames)]
        prompts.append(frame.replace("{question}", texts[place]))
    held_out = asked(fact, reworded)[:probes]
    return Lesson(
        fact.id,
        tuple(Passage(prompt, fact.answer) for prompt in prompts),
        (
            Probe("trained", ask(fact.question), fact.accepted),
            *(Probe("reworded", ask(text), fact.accepted) for text in held_out),
        ),
    )


def asked(fact: Fact, reworded: Wordings) -> list[str]:
    """Held-out wordings: those of the fact, then those of rules that it does not have itself."""
    own = set(map(normalized, (fact.question, *fact.paraphrases, *fact.held_out)))
    return [*fact.held_out, *(w for w in reworded.held_out if normalized(w) not in own)]


def ask(question: str) -> str:
    """The prompt in which questions are asked."""
    return wordings.ASK_FRAME.replace("{question}", question)


def lessons(
    facts: Sequence[Fact],
    reword: Callable[[str, int], Wordings],
    frames: Sequence[str],
    passages: int,
    probes: int,
    seed: int,
) -> list[Lesson]:
    """The lessons of `facts`, in their order."""
    return [
        lesson(fact, reword(fact.question, seed), frames, passages, probes, seed) for fact in facts
    ]
