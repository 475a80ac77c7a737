"""Rewording of questions by rule: no other model, and the same wordings from the same seed.

A rule belongs to one side: what it gives is trained on, or held out (see `training`, `held_out`).
"""

import random
from typing import NamedTuple

from smem_jax.data.rewording import held_out, training
from smem_jax.data.rewording.parse import parse
from smem_jax.data.rewording.text import capitalized, names, normalized
from smem_jax.errors import InputError

MAX_TRAINING, MAX_HELD_OUT = 24, 6


class Wordings(NamedTuple):
    """Other wordings of a question, neither side holding the question itself.

    `training` has up to 24, `held_out` up to 6, of rules that `training` has nothing of.
    """

    training: tuple[str, ...]
    held_out: tuple[str, ...]


def reword(question: str, seed: int) -> Wordings:
    """Other wordings of a trivia question in English.

    The seed chooses which training wordings come, and in what order; any few of the first ones are
    of many rules. Every wording keeps names, numbers and quoted titles; no two of a question have
    the same words. Raises InputError for a question without words.

    >>> reword('Who wrote "The Joy Luck Club" in 1989?', seed=0).held_out[0]
    'Who was it that authored "The Joy Luck Club" in 1989?'
    """
    if not normalized(question):
        raise InputError(f"question={question!r} must hold a word")
    parsed = parse(question)
    seen = {"", normalized(question)}
    kept_names = names(question)

    def accept(wording: str) -> bool:
        plain = normalized(wording)
        if plain in seen or not kept_names <= {normalized(word) for word in wording.split()}:
            return False
        seen.add(plain)
        return True

    sentences = map(capitalized, held_out.wordings(parsed))
    held = [sentence for sentence in sentences if accept(sentence)][:MAX_HELD_OUT]
    random_source = random.Random(f"{seed} {question}")
    by_rule = training.rules(parsed)
    for wordings in by_rule:
        random_source.shuffle(wordings)
    rounds = max(map(len, by_rule))
    in_turn = [rule[turn] for turn in range(rounds) for rule in by_rule if turn < len(rule)]
    trained = [wording for wording in in_turn if accept(wording)]
    return Wordings(tuple(trained[:MAX_TRAINING]), tuple(held))
