"""The numbers of `explain.json`, from the reads of facts and of ordinary text."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from smem_jax.data.facts import Fact
from smem_jax.explain import analysis
from smem_jax.explain.rows import ROLES, Rows

SHARES = tuple(tenth / 10 for tenth in range(1, 11))
SHOWN_FACTS = 6
_SNIPPET_TOKENS = 24
_SNIPPETS = 3


class Taught(NamedTuple):
    """A fact, its rows and what they read."""

    fact: Fact
    rows: Rows
    chosen: np.ndarray  # int32: the slots that a step would train, ascending
    share: analysis.TokenShare
    readers: analysis.Readers


class Ordinary(NamedTuple):
    """Documents of ordinary text and what they read."""

    tokens: np.ndarray  # int32 [documents, seq]
    mask: np.ndarray  # bool [documents, seq]: no padding
    indices: np.ndarray  # int32 [documents, seq, reads]
    decode: Callable[[Sequence[int]], str]


def summary(
    facts: Sequence[Taught], ordinary: Ordinary, frequency: np.ndarray, num_documents: int
) -> dict[str, Any]:
    """All figures, as JSON takes them.

    Args:
      facts: at least two.
      frequency: background documents that read each slot, int32 [num_slots].
      num_documents: background documents in all.
    """
    everywhere = np.unique(np.concatenate([taught.chosen for taught in facts]))
    return {
        "num_facts": len(facts),
        "roles": roles(facts),
        "core": {
            "shares": list(SHARES),
            "read": core(facts, False).tolist(),
            "chosen": core(facts, True).tolist(),
        },
        "overlap": {name: _overlap(sets, len(frequency)) for name, sets in sets_of(facts).items()},
        "document_frequency": {
            "documents": num_documents,
            "chosen": _frequencies(frequency, [taught.chosen for taught in facts]),
            "read": _frequencies(frequency, [taught.readers.slots for taught in facts]),
        },
        "ordinary_text": {
            "tokens": int(ordinary.mask.sum()),
            "share_reading_any_fact": _share(
                analysis.background_reads(ordinary.indices, ordinary.mask, everywhere),
                ordinary.mask,
            ),
        },
        "facts": [
            _fact(taught, ordinary, with_snippets=number < SHOWN_FACTS)
            for number, taught in enumerate(facts)
        ],
    }


def core(facts: Sequence[Taught], only_chosen: bool) -> np.ndarray:
    """Slots read by at least each of `SHARES` of a fact's rows: int32 [facts, shares].

    Of the chosen slots alone, or of all that are read.
    """
    return np.stack(
        [analysis.core_sizes(_readers(taught, only_chosen), SHARES) for taught in facts]
    )


def sets_of(facts: Sequence[Taught]) -> dict[str, list[np.ndarray]]:
    """Of each fact the slots that it reads, those read by all of its rows, and the chosen."""
    return {
        "chosen": [taught.chosen for taught in facts],
        "core": [analysis.core_set(taught.readers) for taught in facts],
        "read": [taught.readers.slots for taught in facts],
    }


def pairs(sets: Sequence[np.ndarray]) -> np.ndarray:
    """Jaccard index of any two different facts: float64 [facts * (facts - 1) / 2]."""
    return analysis.overlap(sets)[np.triu_indices(len(sets), 1)]


def expected(sets: Sequence[np.ndarray], num_slots: int) -> float:
    """Mean of what `pairs` would be for random sets of the same sizes."""
    sizes = [len(slots) for slots in sets]
    counts: dict[tuple[int, int], int] = {}
    for i, first in enumerate(sizes):
        for second in sizes[:i]:
            pair = (min(first, second), max(first, second))
            counts[pair] = counts.get(pair, 0) + 1
    values = [analysis.expected_overlap(*pair, num_slots) for pair in counts]
    return float(np.average(values, weights=list(counts.values())))


def roles(facts: Sequence[Taught]) -> dict[str, dict[str, float | None]]:
    """Who reads the chosen slots of its fact, by the role of a token."""
    share = analysis.TokenShare(
        *(np.concatenate(arrays) for arrays in zip(*(t.share for t in facts), strict=True))
    )
    found = analysis.role_shares(
        share,
        np.concatenate([taught.rows.roles for taught in facts]),
        np.concatenate([taught.rows.mask for taught in facts]),
        len(ROLES),
    )
    return {
        name: {
            "tokens": float(role.tokens),
            "chosen_reads": float(role.chosen_reads),
            "weight": None if np.isnan(role.weight) else float(role.weight),
        }
        for name, role in zip(ROLES, found, strict=True)
    }


def _readers(taught: Taught, only_chosen: bool) -> analysis.Readers:
    found = taught.readers
    if not only_chosen:
        return found
    kept = np.isin(found.slots, taught.chosen)
    return analysis.Readers(found.slots[kept], found.num_rows[kept], found.total_rows)


def _overlap(sets: Sequence[np.ndarray], num_slots: int) -> dict[str, float]:
    found = pairs(sets)
    return {
        "mean": float(found.mean()),
        "median": float(np.median(found)),
        "max": float(found.max()),
        "expected_of_random": expected(sets, num_slots),
    }


def _frequencies(frequency: np.ndarray, sets: Sequence[np.ndarray]) -> dict[str, float]:
    """Documents that read the slots of all sets, each slot as often as there are sets with it."""
    found = frequency[np.concatenate(sets)]
    quartiles = np.quantile(found, (0.25, 0.5, 0.75))
    return {
        "quartile_1": float(quartiles[0]),
        "median": float(quartiles[1]),
        "quartile_3": float(quartiles[2]),
        "mean": float(found.mean()),
        "share_read_by_none": float(np.mean(found == 0)),
    }


def _fact(taught: Taught, ordinary: Ordinary, with_snippets: bool) -> dict[str, Any]:
    reads = analysis.background_reads(ordinary.indices, ordinary.mask, taught.chosen)
    record: dict[str, Any] = {
        "id": taught.fact.id,
        "question": taught.fact.question,
        "answer": taught.fact.answer,
        "rows": taught.readers.total_rows,
        "slots_read": len(taught.readers.slots),
        "slots_chosen": len(taught.chosen),
        "core_read": len(analysis.core_set(taught.readers)),
        "core_chosen": len(analysis.core_set(_readers(taught, only_chosen=True))),
        "ordinary_tokens_reading": _share(reads, ordinary.mask),
    }
    if with_snippets:
        record["ordinary_snippets"] = [
            {"text": _text(ordinary, s), "reads": s.reads}
            for s in analysis.background_readers(reads, _SNIPPET_TOKENS, _SNIPPETS)
        ]
    return record


def _share(reads: np.ndarray, mask: np.ndarray) -> float:
    """Share of tokens with a read at all."""
    return float(np.mean(reads[mask] > 0))


def _text(ordinary: Ordinary, snippet: analysis.Snippet) -> str:
    here = snippet.window, slice(snippet.start, snippet.stop)
    return ordinary.decode(ordinary.tokens[here][ordinary.mask[here]].tolist())
