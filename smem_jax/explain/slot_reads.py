"""Which trained slots each token of a few wordings reads, and what else reads those slots.

`smem teach` writes it for the report of the run, which shows it for the token that is pointed at.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from smem_jax.data import wordings
from smem_jax.data.encode import ANSWER_END, answer_ids
from smem_jax.data.facts import Fact
from smem_jax.evaluate.batching import pad_rows
from smem_jax.explain import analysis
from smem_jax.explain.reads import Reads, reads, sample
from smem_jax.explain.rows import token_ends
from smem_jax.models.pretrained import Tokenizer
from smem_jax.models.transformer import Transformer
from smem_jax.train.background import Background, Documents

FILE = "slot_reads.json"
# These bound the file, and with it the page: a slot takes some 300 bytes.
_TOKENS = 2048  # of all wordings together
_SLOTS = 3  # of a token
_READERS = 8  # of a slot, among those tokens
_SNIPPETS = 2  # of a slot, of ordinary text
_SAMPLE_TOKENS = 12_288  # of ordinary text, where snippets are looked for
_AROUND = 8  # tokens of a snippet before the one that reads, and as many behind it

_Place = tuple[int, int]  # of a token: its row, and where in it


class _Wording(NamedTuple):
    fact: Fact
    kind: str  # as of `smem_jax.evaluate.measure.Probe`
    ids: list[int]
    texts: list[str]  # of each token


def slot_reads(
    model: Transformer,
    tokenizer: Tokenizer,
    block: int,
    facts: Sequence[Fact],
    frame: str,
    seq_len: int,
    trained: np.ndarray,
    background: Background,
    documents: Documents | None,
) -> dict[str, Any]:
    """The object of `slot_reads.json`.

    Its `rows` are wordings in `frame` with their answers: of each fact, from the first on, the
    question and one other, held out where there is one. A token of a row is its text, the share of
    its read weight that goes to trained slots, how many of its reads do, and the trained slots that
    weigh most, each with its share. `slots` has of each of these how many background documents read
    it, how many tokens of the rows, the tokens that do most (row and place), and `snippets` of
    ordinary text: what stands before a token that reads it, the token, and what stands behind.

    Args:
      seq_len: most tokens of a row.
      trained: the slots that the run has changed, int32.
      documents: ordinary text; None for no snippets.
    """
    shown = _wordings(tokenizer, facts, frame, seq_len)
    lengths = np.asarray([len(wording.ids) for wording in shown])
    ids = [wording.ids for wording in shown]
    tokens = pad_rows(ids, len(shown), lengths.max(), tokenizer.pad_id)
    mask = np.arange(tokens.shape[1]) < lengths[:, None]
    found = reads(model, block, tokens, None)
    share = analysis.token_share(*found, mask, trained)
    by_token = _by_token(found, mask, trained)
    top = {
        place: sorted(slots.items(), key=lambda item: -item[1])[:_SLOTS]
        for place, slots in by_token.items()
    }
    listed = sorted({slot for most in top.values() for slot, _ in most})
    by_slot = _by_slot(by_token)
    snippets: Mapping[int, list[tuple[str, str, str]]] = {}
    if documents is not None:
        snippets = _snippets(model, tokenizer, block, sample(documents, _SAMPLE_TOKENS, 0), listed)
    frequency = background.document_frequency
    return {
        "documents": background.num_documents,
        "reads_per_token": found.indices.shape[-1],
        "document_frequency": _histogram(frequency, trained),
        "rows": [
            {
                "fact": wording.fact.id,
                "question": wording.fact.question,
                "answer": wording.fact.answer,
                "kind": wording.kind,
                "tokens": [
                    [
                        text,
                        round(float(share.weight[row, place]), 4),
                        int(share.reads[row, place]),
                        [[slot, round(weight, 4)] for slot, weight in top.get((row, place), [])],
                    ]
                    for place, text in enumerate(wording.texts)
                ],
            }
            for row, wording in enumerate(shown)
        ],
        "slots": {
            slot: {
                "documents": int(frequency[slot]),
                "num_tokens": len(by_slot[slot]),
                "tokens": by_slot[slot][:_READERS],
                "snippets": snippets.get(slot, []),
            }
            for slot in listed
        },
    }


def _wordings(
    tokenizer: Tokenizer, facts: Sequence[Fact], frame: str, seq_len: int
) -> list[_Wording]:
    """Two wordings of each fact, from the first on, as far as there is room."""
    found: list[_Wording] = []
    for fact in facts:
        others = [("reworded", text) for text in fact.held_out]
        others += [("trained", text) for text in fact.paraphrases]
        made = (_wording(tokenizer, fact, *other, frame) for other in others)
        fitting = (wording for wording in made if len(wording.ids) <= seq_len)
        found.append(_wording(tokenizer, fact, "trained", fact.question, frame))
        found += itertools.islice(fitting, 1)
        if sum(len(wording.ids) for wording in found) > _TOKENS:
            break
    return found


def _wording(tokenizer: Tokenizer, fact: Fact, kind: str, question: str, frame: str) -> _Wording:
    [prompt] = wordings.prompts([question], [frame])
    ids = [*tokenizer.encode(prompt), *answer_ids(tokenizer, fact.answer, ANSWER_END)]
    text = f"{prompt} {fact.answer}{ANSWER_END}"
    ends = token_ends(tokenizer, ids, text)
    starts = [0, *ends[:-1]]
    texts = [text[start:end] for start, end in zip(starts, ends, strict=True)]
    return _Wording(fact, kind, ids, texts)


def _by_token(
    found: Reads, mask: np.ndarray, chosen: Sequence[int] | np.ndarray
) -> dict[_Place, dict[int, float]]:
    """Of each token the chosen slots that it reads, with the share of its weight that each gets."""
    total = found.weights.sum(axis=-1)
    is_chosen = np.isin(found.indices, chosen) & mask[..., None]
    shares: dict[_Place, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for row, place, read in np.argwhere(is_chosen).tolist():
        share = float(found.weights[row, place, read] / total[row, place])
        shares[row, place][int(found.indices[row, place, read])] += share
    return shares


def _by_slot(by_token: Mapping[_Place, dict[int, float]]) -> dict[int, list[_Place]]:
    """Of each slot the tokens that read it: first that of each row which does most, then others."""
    found: dict[int, list[_Place]] = defaultdict(list)
    for place, slots in by_token.items():
        for slot in slots:
            found[slot].append(place)
    return {slot: list(_in_turn(slot, places, by_token)) for slot, places in found.items()}


def _in_turn(
    slot: int, places: list[_Place], by_token: Mapping[_Place, dict[int, float]]
) -> Iterator[_Place]:
    ordered = sorted(places, key=lambda place: -by_token[place][slot])
    first_of_row = {row: (row, place) for row, place in reversed(ordered)}
    yield from sorted(first_of_row.values(), key=ordered.index)
    yield from (place for place in ordered if first_of_row[place[0]] != place)


def _snippets(
    model: Transformer,
    tokenizer: Tokenizer,
    block: int,
    documents: Documents,
    slots: Sequence[int],
) -> dict[int, list[tuple[str, str, str]]]:
    """Of each slot what stands around the tokens of the documents that read it most."""
    is_token = np.arange(documents.tokens.shape[1]) < documents.lengths[:, None]
    found = reads(model, block, documents.tokens, "ordinary text")

    def text(row: int, start: int, stop: int) -> str:
        here = documents.tokens[row, max(0, start) : min(stop, documents.lengths[row])]
        return tokenizer.decode(here.tolist())

    return {
        slot: [
            (
                text(row, at - _AROUND, at),
                text(row, at, at + 1),
                text(row, at + 1, at + 1 + _AROUND),
            )
            for row, at in places[:_SNIPPETS]
        ]
        for slot, places in _by_slot(_by_token(found, is_token, slots)).items()
    }


def _histogram(frequency: np.ndarray, trained: np.ndarray) -> dict[str, list[int]]:
    """How many slots 0, 1, 2 to 3, 4 to 7, ... background documents read: all, and the trained."""
    edges = [0, *(2**power for power in range(int(frequency.max()).bit_length() + 1))]
    return {
        "from": edges[:-1],
        "all": np.histogram(frequency, edges)[0].tolist(),
        "trained": np.histogram(frequency[trained], edges)[0].tolist(),
    }
