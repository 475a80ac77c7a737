"""Models that patches were put on."""

import dataclasses
import json
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from smem_jax import config as config_module
from smem_jax import patch as patches
from smem_jax.data import fact_lessons
from smem_jax.data.facts import Fact
from smem_jax.data.rewording import reword
from smem_jax.evaluate import measure
from smem_jax.evaluate.recall import Prompts
from smem_jax.memory.relevance import NO_GROUP, RelevanceGate
from smem_jax.memory.tables import CompactTable
from smem_jax.models import pretrained
from smem_jax.models.retrofit import memory_layer
from smem_jax.models.transformer import Transformer
from smem_jax.patch import together
from smem_jax.settings import defaults
from smem_jax.train import retrofitted

_REWORDINGS = 2  # of a fact that has no held-out wordings of its own


class Patched(NamedTuple):
    """A base model with patches.

    Attributes:
      model: its memory layer has the rows that patches give it, and no other.
      block: that has the memory layer.
      lessons: of each group of rows, what it was taught, where patches tell.
    """

    model: Transformer
    tokenizer: pretrained.Tokenizer
    block: int
    lessons: tuple[str, ...]


def load(given: Sequence[patches.Patch], model: str = "") -> Patched:
    """The base model with all `given` patches on it.

    Args:
      model: where to read the base model; '' for the place that the first patch names.

    Raises InputError where there is no patch, one is for another base model or has other queries
    and sub-keys, and where none of them has those with it.
    """
    together.check(given)
    layout = together.layout(given)
    config = settings_of(given, defaults(), model or given[0].about.base)
    base = untaught(config, given)
    block = config.memory.block
    layout.put(memory_layer(base.model, block))
    sums = patches.combined(given)
    return Patched(put_on(base.model, block, sums), base.tokenizer, block, sums.lessons)


class Untaught(NamedTuple):
    """A base model with an unfitted memory layer whose table takes no room."""

    model: Transformer
    tokenizer: pretrained.Tokenizer
    fingerprint: str


def untaught(settings: ConfigDict, given: Sequence[patches.Patch]) -> Untaught:
    """The configured base model, for patches; InputError where they are for another one."""
    base = pretrained.load(settings.model)
    fingerprint = pretrained.fingerprint(base.tensors)
    for patch in given:
        together.check_base(patch, fingerprint)
    model = Transformer.from_tensors(base.config, base.tensors)
    base.tensors.clear()
    sizes = retrofitted.memory_config(settings, model.config.embed_dim)
    retrofitted.add_memory(model, settings, CompactTable.empty(sizes))
    return Untaught(model, base.tokenizer, fingerprint)


def settings_of(given: Sequence[patches.Patch], settings: ConfigDict, model: str) -> ConfigDict:
    """Settings with the memory layer of patches; InputError for one that makes no sense."""
    found = settings.copy_and_resolve_references()
    text = json.dumps({"model": model, "memory": dict(given[0].about.memory) if given else {}})
    return config_module.from_json(text, found)


def put_on(model: Transformer, block: int, sums: patches.Combined) -> Transformer:
    """A model that shares all arrays with the given one but the rows of its memory layer.

    `sums` are rows of the width of the model, for slots of the memory layer in `block`.
    """
    patched = nnx.merge(*nnx.split(model))
    layer = memory_layer(patched, block)
    layer.table = CompactTable(layer.config, sums.slots, sums.rows)
    groups = np.full(layer.config.num_slots, NO_GROUP, np.int32)
    groups[sums.slots] = sums.groups
    gate = None if sums.relevance is None else RelevanceGate(jnp.asarray(groups), sums.relevance)
    layer.relevance = nnx.data(gate)
    return patched


def without_memory(taught: Patched) -> Transformer:
    """A model that shares all arrays with the given one, but for rows that are all zero.

    It says what the base model says, where the memory layer stands beside its feed-forward network.
    """
    silent = nnx.merge(*nnx.split(taught.model))
    table = memory_layer(silent, taught.block).table
    rows = table.values
    table.values = rows.replace(jnp.zeros_like(rows[...]))  # type: ignore[assignment]
    return silent


def recall_of(taught: Patched, facts: Sequence[Fact]) -> dict[str, tuple[int, int]]:
    """How many prompts about facts are answered right, of how many, by the kind of prompt.

    Those of `measure.probes` without held-out frames; a fact without held-out questions is asked in
    wordings that rules make of its own (`smem_jax.data.rewording`).
    """

    def whole(fact: Fact) -> Fact:
        made = fact_lessons.asked(fact, reword(fact.question, 0))[:_REWORDINGS]
        return fact if fact.held_out else dataclasses.replace(fact, held_out=tuple(made))

    asked = measure.probes([whole(fact) for fact in facts], ())
    prompts = [probe.prompt for probe in asked]
    right = Prompts(taught.tokenizer, prompts, [p.fact.answer for p in asked]).measure(taught.model)
    found: dict[str, tuple[int, int]] = {}
    for probe, is_right in zip(asked, right.right, strict=True):
        before, total = found.get(probe.kind, (0, 0))
        found[probe.kind] = before + int(is_right), total + 1
    return found
