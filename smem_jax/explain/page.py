"""The page of `smem explain`: figures with what they say, in Markdown."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smem_jax import atomic
from smem_jax.explain import figures
from smem_jax.explain.rows import ROLES
from smem_jax.explain.summary import SHOWN_FACTS, Taught


def write(
    output: Path, found: Mapping[str, Any], facts: Sequence[Taught], frequency: np.ndarray
) -> None:
    """Writes `explain.md` and its figures into the directory `output`.

    Args:
      found: what `explain.json` says.
      facts: what it was computed from.
      frequency: background documents that read each slot, int32 [num_slots].
    """
    figures.tokens(output / "tokens", facts[:SHOWN_FACTS])
    figures.roles(output / "roles", found["roles"])
    figures.core(output / "core", facts)
    figures.overlap(output / "overlap", facts, len(frequency))
    figures.frequency(output / "frequency", facts, frequency)
    atomic.write_text(output / "explain.md", page(found))


def page(found: Mapping[str, Any]) -> str:
    """The Markdown of the page."""
    parts = [
        f"# What reads the slots of {found['num_facts']} facts",
        _what(found),
        "## Which tokens read them",
        "![Heat strips](tokens.svg)",
        "Two wordings of each fact: its question in the first frame, and its last paraphrase in "
        "the last frame.",
        "![Roles](roles.svg)",
        _roles(found),
        "## What the paraphrases of a fact share",
        "![Core sets](core.svg)",
        _core(found),
        "## What different facts share",
        "![Overlap](overlap.svg)",
        "Facts are numbered in the order of their file, from 0.",
        _overlap(found),
        "## What ordinary text reads",
        "![Document frequency](frequency.svg)",
        _frequency(found),
        *_snippets(found),
    ]
    return "\n\n".join(parts) + "\n"


def _what(found: Mapping[str, Any]) -> str:
    memory = found["memory"]
    return (
        f"Base model `{found['base_model']}`, memory {memory['placement']} the feed-forward "
        f"network of block {memory['block']}, {memory['num_slots']:,} slots, "
        f"{memory['num_heads'] * memory['top_k']} reads a token. Each fact is a batch of its own, "
        f"of {_medians(found, 'rows')} rows (a wording in a frame, with the answer; median). It "
        f"reads {_medians(found, 'slots_read')} slots and trains {_medians(found, 'slots_chosen')}"
        f" of them (selection `{found['selection']}`, top_t = {found['top_t']})."
    )


def _roles(found: Mapping[str, Any]) -> str:
    lines = [
        "| token | of all tokens | of the reads of chosen slots | its read weight in them |",
        "| --- | --- | --- | --- |",
    ]
    for name in ROLES:
        role = found["roles"][name]
        weight = "-" if role["weight"] is None else f"{role['weight']:.1%}"
        lines.append(f"| {name} | {role['tokens']:.1%} | {role['chosen_reads']:.1%} | {weight} |")
    lines += ["", "A name is a word with a capital letter or a number, inside of a question."]
    return "\n".join(lines)


def _core(found: Mapping[str, Any]) -> str:
    return (
        f"Every row of a fact reads the same {_medians(found, 'core_read')} slots (median), of "
        f"which {_medians(found, 'core_chosen')} are among the chosen."
    )


def _overlap(found: Mapping[str, Any]) -> str:
    lines = [
        "| Jaccard index of two facts | mean | largest | random sets of these sizes |",
        "| --- | --- | --- | --- |",
    ]
    for name, label in (
        ("read", "all slots read"),
        ("core", "slots read by every row"),
        ("chosen", "chosen slots"),
    ):
        o = found["overlap"][name]
        lines.append(
            f"| {label} | {o['mean']:.4f} | {o['max']:.4f} | {o['expected_of_random']:.4f} |"
        )
    return "\n".join(lines)


def _frequency(found: Mapping[str, Any]) -> str:
    frequency, text = found["document_frequency"], found["ordinary_text"]
    chosen, read = frequency["chosen"], frequency["read"]
    return (
        f"Of {frequency['documents']:,} background documents, {chosen['median']:.0f} read a chosen "
        f"slot and {read['median']:.0f} any that a fact reads (medians); none reads "
        f"{chosen['share_read_by_none']:.1%} of the chosen, {read['share_read_by_none']:.1%} of "
        f"all. Of {text['tokens']:,} tokens of ordinary text "
        f"{_medians(found, 'ordinary_tokens_reading', '.2%')} read a chosen slot of a given fact "
        f"(median), {text['share_reading_any_fact']:.1%} one of any fact."
    )


def _snippets(found: Mapping[str, Any]) -> list[str]:
    """The ordinary text that reads the slots of each fact most."""
    parts = []
    for fact in found["facts"]:
        if snippets := fact.get("ordinary_snippets"):
            lines = [f"{_plain(fact['question'])} **{_plain(fact['answer'])}**", ""]
            lines += [f"- {s['reads']} reads: `{_plain(s['text'])}`" for s in snippets]
            parts.append("\n".join(lines))
    return parts


def _plain(text: str) -> str:
    """Text in one line that no Markdown is read in."""
    text = " ".join(text.replace("\n", " ↵ ").split())
    return text.replace("`", "'").replace("|", "/")


def _medians(found: Mapping[str, Any], name: str, form: str = ",.0f") -> str:
    return format(float(np.median([fact[name] for fact in found["facts"]])), form)
