"""What one choice at a time does: settings that differ from a reference in one group of fields."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from smem_jax.report.results import choose, words
from smem_jax.report.results.choose import Pick
from smem_jax.report.results.read import Setting

_RATE = "learner.learning_rate"
# Fields that are changed together; any other field is a group of its own.
_GROUPS = {
    "optimizer": (
        "learner.optimizer",
        "learner.momentum",
        "learner.b1",
        "learner.b2",
        "learner.weight_decay",
        "learner.missed_steps",
    ),
    "background": (
        "background.file",
        "background.text",
        "background.questions",
        "background.seq_len",
    ),
    "drift_weight": ("learner.drift_weight", "learner.drift_tokens", "learner.drift_readers"),
    "relevance": ("learner.relevance_threshold", "learner.relevance_window"),
    "replay": ("learner.replay", "learner.replay_weight"),
}
_TITLES = {
    "learner.top_t": "slots trained in a step (t)",
    "learner.selection": "how the slots are chosen",
    "learner.steps": "steps a lesson",
    _RATE: "learning rate",
    "optimizer": "optimizer",
    "background": "background text of the IDF",
    "background.questions": "questions beside the background text of the IDF",
    "drift_weight": "weight of the drift penalty",
    "replay": "replayed background documents a step",
    "memory.num_slots": "slots of the memory (N)",
    "learner.max_document_frequency": "documents that may read a trained slot (0: any number)",
    "learner.select_once": "one selection for all steps of a lesson",
    "learner.new_rows_only": "no row of another fact or document is trained",
    "relevance": "reads that open the relevance gate (0: no gate)",
    "memory.block": "block that carries the memory",
    "memory.top_k": "reads per head",
    "lessons.passages": "wordings of a lesson",
}


class Axis(NamedTuple):
    """One choice: its name in words, and a setting for each value, by ascending value."""

    title: str
    values: list[str]
    picks: list[Pick]
    reference: int  # position of the reference among them


def reference(settings: Sequence[Setting], preferred: Setting | None) -> Setting | None:
    """The sparse setting that most others differ from in one group of fields; None without any.

    Settings that differ in their learning rate alone count as one, for which the one stands that
    `choose.pick` takes. Among equals, the one with `preferred` counts, then that of most seeds.
    """
    sparse = _sparse(settings)
    by_rest: dict[str, list[Setting]] = {}
    for setting in sparse:
        rest = {name: value for name, value in setting.fields.items() if name != _RATE}
        by_rest.setdefault(repr(sorted(rest.items())), []).append(setting)

    def weight(group: Sequence[Setting]) -> tuple[int, bool, int]:
        near = sum(_group(group[0], others[0]) not in (None, _RATE) for others in by_rest.values())
        has_preferred = any(setting is preferred for setting in group)
        return near, has_preferred, max(len(setting.runs) for setting in group)

    if not sparse:
        return None
    best = max(by_rest.values(), key=weight)
    return choose.pick(best, choose.wanted(settings)).setting


def axes(settings: Sequence[Setting], base: Setting) -> list[Axis]:
    """The choices of which another value than the reference's was run.

    The learning rate may differ along with any group. Of several for one value, that counts which
    forgets least at equal learning with the reference (`choose.pick`).
    """
    found: dict[str, list[Setting]] = {}
    for setting in _sparse(settings):
        group = _group(base, setting)
        if group is not None:
            found.setdefault(group, []).append(setting)
    return [_axis(group, [base, *others], base) for group, others in sorted(found.items())]


def _axis(group: str, settings: Sequence[Setting], base: Setting) -> Axis:
    names = [
        name
        for name in _GROUPS.get(group, (group,))
        if len({repr(setting.fields.get(name)) for setting in settings}) > 1
    ]
    by_value: dict[tuple, list[Setting]] = {}
    for setting in settings:
        value = tuple(_key(setting.fields.get(name)) for name in names)
        by_value.setdefault(value, []).append(setting)
    picks: list[Pick] = []
    position = 0
    for value in sorted(by_value):
        if any(setting is base for setting in by_value[value]):
            position = len(picks)
            picks.append(Pick(base, True))
        else:
            picks.append(choose.pick(by_value[value], choose.learned(base)))
    values = [", ".join(words.value(p.setting.fields.get(name)) for name in names) for p in picks]
    title = _TITLES.get(names[0]) if len(names) == 1 else None
    title = title or _TITLES.get(group, group.rpartition(".")[2])
    return Axis(title, values, picks, position)


def _sparse(settings: Sequence[Setting]) -> list[Setting]:
    return [s for s in settings if s.runs[0]["learner"].get("method") == "sparse"]


def _group(one: Setting, other: Setting) -> str | None:
    """The only group in which two settings differ, None for none or several."""
    names = one.fields.keys() | other.fields.keys()
    differ = {name for name in names if one.fields.get(name) != other.fields.get(name)}
    if differ == {_RATE}:
        return _RATE
    groups = {_group_of(name) for name in differ - {_RATE}}
    return groups.pop() if len(groups) == 1 else None


def _group_of(name: str) -> str:
    return next((group for group, names in _GROUPS.items() if name in names), name)


def _key(value: Any) -> tuple[int, float, str]:
    """Sorts numbers by size, before text."""
    if isinstance(value, int | float):
        return 0, float(value), ""
    return 1, 0.0, repr(value)
