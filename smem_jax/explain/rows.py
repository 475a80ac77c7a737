"""The training sequences of a fact, with the role that each token has in them."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from smem_jax.data.encode import ANSWER_END, encode
from smem_jax.data.facts import Fact
from smem_jax.models.pretrained import Tokenizer

# A name is a word with a capital letter, or a number; its last token is told apart, since there the
# whole name has been read (arXiv 2510.15103: reads line up with the ends of entities).
ROLES = ("frame", "question", "name", "end of a name", "answer")
_FRAME, _QUESTION, _NAME, _NAME_END, _ANSWER = range(len(ROLES))
_WORD = re.compile(r"[^\W_]+(?:['\u2019.-][^\W_]+)*")


class Rows(NamedTuple):
    """All wordings of a fact in all frames, each with its answer, padded on the right."""

    tokens: np.ndarray  # int32 [rows, seq]
    mask: np.ndarray  # bool [rows, seq]
    roles: np.ndarray  # int8 [rows, seq], numbers of ROLES
    texts: tuple[str, ...]
    ends: tuple[tuple[int, ...], ...]  # of each row: where in its text each token ends

    def cut(self, seq_len: int) -> "Rows":
        """The rows with the first `seq_len` places; behind them there must be padding alone."""
        return self._replace(
            tokens=self.tokens[:, :seq_len],
            mask=self.mask[:, :seq_len],
            roles=self.roles[:, :seq_len],
        )


def rows_of(tokenizer: Tokenizer, fact: Fact, frames: Sequence[str], seq_len: int) -> Rows:
    """The rows that a fact is taught by: all frames of the question, then of each paraphrase.

    Raises InputError, naming the fact, where one takes more than `seq_len` tokens.
    """
    wordings = (fact.question, *fact.paraphrases)
    names = _names(wordings)
    parts = [(wording, frame.partition("{question}")) for wording in wordings for frame in frames]
    prompts = [before + wording + after for wording, (before, _, after) in parts]
    encoded = encode(tokenizer, [(prompt, fact.answer) for prompt in prompts], seq_len)
    mask = np.arange(seq_len) < encoded.lengths[:, None]
    roles = np.zeros(mask.shape, np.int8)
    texts, all_ends = [], []
    for row, (wording, (before, _, after)) in enumerate(parts):
        text = f"{prompts[row]} {fact.answer}{ANSWER_END}"
        of_characters = np.concatenate(
            [
                np.full(len(before), _FRAME),
                _question_roles(wording, names),
                np.full(len(after), _FRAME),
                np.full(len(text) - len(prompts[row]), _ANSWER),
            ]
        )
        ends = token_ends(tokenizer, encoded.tokens[row, mask[row]].tolist(), text)
        roles[row, : len(ends)] = _token_roles(of_characters, ends)
        texts.append(text)
        all_ends.append(tuple(ends))
    return Rows(encoded.tokens, mask, roles, tuple(texts), tuple(all_ends))


def token_ends(tokenizer: Tokenizer, ids: Sequence[int], text: str) -> list[int]:
    """Where in `text` each of its tokens `ids` ends, rising.

    A character of several tokens ends with the last of them.
    """
    # What is decoded of a part of a character differs from the text, so it does not count.
    return [_common(tokenizer.decode(ids[: place + 1]), text) for place in range(len(ids))]


def _common(first: str, second: str) -> int:
    """How many characters two texts have in common at their beginning."""
    pairs = zip(first, second, strict=False)
    differ = (place for place, (one, other) in enumerate(pairs) if one != other)
    return next(differ, min(len(first), len(second)))


def _names(wordings: Sequence[str]) -> set[str]:
    """The capitalised words of a fact, and its numbers.

    The first word of a wording is capitalised anyway: it counts if it is so elsewhere, too.
    """
    found: set[str] = set()
    for wording in wordings:
        for place, match in enumerate(_WORD.finditer(wording)):
            first = match.group()[0]
            if first.isdigit() or (place > 0 and first.isupper()):
                found.add(match.group())
    return found


def _question_roles(wording: str, names: set[str]) -> np.ndarray:
    """The role of each character of a question: int [characters]."""
    roles = np.full(len(wording), _QUESTION)
    last_end = None
    for match in _WORD.finditer(wording):
        if match.group() not in names:
            last_end = None
            continue
        # Words of one name, and the space between them.
        together = last_end is not None and wording[last_end : match.start()] == " "
        roles[last_end if together else match.start() : match.end()] = _NAME
        last_end = match.end()
    return roles


def _token_roles(of_characters: np.ndarray, ends: Sequence[int]) -> np.ndarray:
    """The role of the last character of each token, since its first may be a space."""
    last = np.maximum(np.asarray(ends) - 1, 0)
    roles = of_characters[last]
    # Behind the last token stands nothing.
    is_end = (roles == _NAME) & (np.append(roles[1:], _FRAME) != _NAME)
    return np.where(is_end, _NAME_END, roles)
