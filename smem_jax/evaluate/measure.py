"""The measurements of a teaching run: what is answered, and what was lost elsewhere."""

from collections.abc import Sequence
from typing import NamedTuple

from smem_jax.data import wordings
from smem_jax.data.facts import Fact
from smem_jax.data.questions import Question
from smem_jax.evaluate import generate, nll, recall, score
from smem_jax.models.pretrained import Tokenizer
from smem_jax.models.transformer import Transformer


class Probe(NamedTuple):
    """One prompt about a fact.

    `kind` is 'trained' (the question as trained on), 'frame' (the same question in a frame that was
    not trained on) or 'reworded' (in words that were not).
    """

    fact: Fact
    kind: str
    prompt: str


class Measured(NamedTuple):
    """Figures of one model; those of what was not given are missing.

    `answers` holds the generated answer of each probe; `figures` has, in nats per token or as a
    share of 1: `trained_exact_match`, `frame_exact_match`, `taught_exact_match` (reworded),
    `taught_answer_nll`, `wikitext_nll`, `nq_answer_nll`, `nq_f1`.
    """

    answers: list[str]
    figures: dict[str, float]


_FIGURE_OF_KIND = {
    "trained": "trained_exact_match",
    "frame": "frame_exact_match",
    "reworded": "taught_exact_match",
}


def probes(facts: Sequence[Fact], held_out_frames: Sequence[str]) -> list[Probe]:
    """Every prompt that is asked about the facts."""
    found = []
    for fact in facts:
        found.append(
            Probe(fact, "trained", *wordings.prompts([fact.question], [wordings.ASK_FRAME]))
        )
        for prompt in wordings.prompts([fact.question], held_out_frames):
            found.append(Probe(fact, "frame", prompt))
        for prompt in wordings.prompts(fact.held_out, [wordings.ASK_FRAME]):
            found.append(Probe(fact, "reworded", prompt))
    return found


def is_correct(probe: Probe, answer: str) -> bool:
    """Whether the answer is an accepted one, by exact match."""
    return score.exact_match(answer, probe.fact.accepted) == 1.0


def measure(
    model: Transformer,
    tokenizer: Tokenizer,
    asked: Sequence[Probe],
    text: Sequence[str],
    questions: Sequence[Question],
    max_new_tokens: int,
) -> Measured:
    """Asks all probes, and measures `text` and `questions`, either of which may be empty."""
    prompts = [probe.prompt for probe in asked]
    answers = generate.answers(model, tokenizer, prompts, max_new_tokens)
    figures = {}
    for kind, name in _FIGURE_OF_KIND.items():
        right = [is_correct(p, a) for p, a in zip(asked, answers, strict=True) if p.kind == kind]
        if right:
            figures[name] = sum(right) / len(right)
    reworded = [probe for probe in asked if probe.kind == "reworded"]
    if reworded:
        expected = [probe.fact.answer for probe in reworded]
        followed = recall.follows(model, tokenizer, [p.prompt for p in reworded], expected)
        figures["taught_answer_nll"] = float(followed.nll.mean())
    if text:
        figures["wikitext_nll"] = nll.text_nll(model, tokenizer, text).mean
    if questions:
        prompts = wordings.prompts([q.question for q in questions], [wordings.ASK_FRAME])
        followed = recall.follows(model, tokenizer, prompts, [q.answers[0] for q in questions])
        figures["nq_answer_nll"] = float(followed.nll.mean())
        predicted = generate.answers(model, tokenizer, prompts, max_new_tokens)
        scores = [score.f1(p, q.answers) for p, q in zip(predicted, questions, strict=True)]
        figures["nq_f1"] = sum(scores) / len(scores)
    return Measured(answers, figures)
