"""What a method is called, and the colour and marker by which every figure shows it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

# By family: colour, from the palette for colour-blind readers of Okabe and Ito (2008).
_COLOURS = {
    "sparse": "#0072B2",
    "TF only": "#CC79A7",
    "KL selection": "#56B4E9",
    "random slots": "#7F7F7F",
    "every read slot": "#000000",
    "all of the memory": "#009E73",
    "LoRA": "#E69F00",
    "full finetuning": "#D55E00",
}
_OTHER = "#8C6D31"
_SELECTIONS = {
    "tf_idf": "sparse",
    "tf": "TF only",
    "kl": "KL selection",
    "random": "random slots",
    "read": "every read slot",
}
_FAMILIES = {"full": "full finetuning", "lora": "LoRA", "memory": "all of the memory"}
# In such an order that the variants which are run most look least alike.
_MARKERS = [*"osd^<p*>XPHh8", (4, 1, 0), (6, 1, 0), *"Dv"]
_LINES = ("-", "--", "-.", ":")
_VARIANTS = (
    ", SGD",
    ", Adam",
    " + drift penalty",
    " + replay",
    " + rare slots only",
    " + relevance gate",
    " + new rows only",
)


class Look(NamedTuple):
    """How a method is drawn."""

    colour: str
    marker: str | tuple[int, int, int]
    line: str


def label(learner: Mapping[str, Any]) -> str:
    """The method of a run from the `learner` section of its configuration.

    >>> label({"method": "sparse", "selection": "tf", "optimizer": "sgd", "replay": 8})
    'TF only, SGD + replay'
    >>> label({"method": "lora", "optimizer": "adam"})
    'LoRA'
    """
    method, optimizer = learner.get("method", "?"), learner.get("optimizer")
    is_sparse = method == "sparse"
    if is_sparse:
        selection = learner.get("selection", "tf_idf")
        name = _SELECTIONS.get(selection, f"sparse, {selection}")
    else:
        name = _FAMILIES.get(method, method)
    if optimizer == "sgd":
        name += ", SGD"
    elif optimizer == "adam" and is_sparse:  # of the others it is what everyone uses
        name += ", Adam"
    if is_sparse and learner.get("drift_weight"):
        name += " + drift penalty"
    if is_sparse and learner.get("max_document_frequency"):
        name += " + rare slots only"
    if is_sparse and learner.get("relevance_threshold"):
        name += " + relevance gate"
    if is_sparse and learner.get("new_rows_only"):
        name += " + new rows only"
    return name + (" + replay" if learner.get("replay") else "")


def family(method: str) -> str:
    """The label without what varies within a family.

    >>> family("sparse, Adam + drift penalty")
    'sparse'
    """
    for variant in _VARIANTS:
        method = method.replace(variant, "")
    return method


def is_baseline(method: str) -> bool:
    """Whether it is a method of others: full finetuning or LoRA, in whatever form."""
    return family(method) in ("full finetuning", "LoRA")


def rank(method: str) -> tuple[int, str]:
    """The place of a method in every table and legend."""
    order = list(_COLOURS)
    name = family(method)
    return order.index(name) if name in order else len(order), method


def look(method: str) -> Look:
    """One colour for a family, and another marker for each variant of it."""
    number = sum(2**place for place, variant in enumerate(_VARIANTS[1:]) if variant in method)
    line, marker = divmod(number, len(_MARKERS))
    return Look(_COLOURS.get(family(method), _OTHER), _MARKERS[marker], _LINES[line])
