"""The page: blocks between marks, so that what was written around them stays."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from smem_jax import atomic
from smem_jax.errors import InputError
from smem_jax.report.results import (
    ablations,
    choose,
    drawing,
    figures,
    figures_along,
    read,
    tables,
)
from smem_jax.report.results.read import Experiment

_HEAD = """# Results

What stands between marks is written by `smem report` from the lines of `smem sweep`.
"""


class _Block(NamedTuple):
    """What stands between two marks: a table, and a figure below it."""

    name: str
    title: str
    table: str
    figure: Figure | None = None
    alt: str = ""


def write(experiments: Mapping[str, Sequence[Path]], page: Path, figures_dir: Path) -> list[str]:
    """Writes or renews the results page and its figures, and returns what stands in it.

    A block NAME of an experiment replaces what stands between `<!-- results:begin EXPERIMENT/NAME
    -->` and `<!-- results:end EXPERIMENT/NAME -->`; one whose marks the page lacks is added at its
    end, if there is anything to say. The same lines give the same bytes.

    Args:
      experiments: by name the files that `smem sweep` wrote for each.
      page: such as docs/RESULTS.md.
      figures_dir: where EXPERIMENT_NAME.svg and .png go.

    Raises InputError for bad lines and for marks without their other end, before anything is
    written.
    """
    found = [read.read(name, paths) for name, paths in experiments.items()]
    text = page.read_text(encoding="utf-8") if page.is_file() else _HEAD
    written = []
    with drawing.style():
        drawn = []
        for experiment in found:
            for block in _blocks(experiment):
                mark = f"{experiment.name}/{block.name}"
                body = block.table
                if block.figure is not None:
                    path = figures_dir / f"{experiment.name}_{block.name}"
                    drawn.append((block.figure, path))
                    link = os.path.relpath(f"{path}.svg", page.parent)
                    body = "\n\n".join(filter(None, (body, f"![{block.alt}]({link})")))
                text = _put(text, mark, block.title, body, page)
                written += [mark] if body else []
        for figure, path in drawn:
            drawing.save(figure, path)
    atomic.write_text(page, text)
    return written


def by_experiment(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Files by what their names begin with: facts.jsonl and facts.h200.jsonl are both of 'facts'.

    >>> by_experiment([Path("r/facts.jsonl"), Path("r/facts.h200.jsonl")])
    {'facts': [...Path('r/facts.jsonl'), ...Path('r/facts.h200.jsonl')]}
    """
    found: dict[str, list[Path]] = {}
    for path in paths:
        found.setdefault(path.name.partition(".")[0], []).append(path)
    return found


def _blocks(experiment: Experiment) -> Iterator[_Block]:
    """All blocks, those of which there is nothing to say with an empty table."""
    settings = experiment.settings
    picks = choose.headline(settings)
    yield _Block("runs", "What was run", tables.runs(experiment))
    yield _Block(
        "headline",
        "Learning and forgetting, at equal learning",
        tables.headline(picks, settings),
        figures.headline(picks),
        "What each method learned and forgot, with intervals",
    )
    yield _Block("ratios", "How much more the others forget", tables.ratios(picks))
    yield _Block("elsewhere", "What else changed", tables.elsewhere(picks))
    yield _Block(
        "pareto",
        "Learning against forgetting",
        "",
        figures.pareto(settings, picks),
        "Recall against what is forgotten, for every setting, with the front of each method",
    )
    base = ablations.reference(settings, choose.main_sparse(picks))
    axes = ablations.axes(settings, base) if base else []
    yield _Block(
        "ablations",
        "One choice at a time",
        tables.ablation(axes),
        figures.ablation(axes) if axes else None,
        "What is learned and forgotten where one choice differs from the reference",
    )
    yield _Block(
        "curves",
        "Along the stream",
        "",
        figures_along.curves(picks),
        "Recall, known questions and WikiText NLL against the number of lessons taught",
    )
    yield _Block(
        "matrix",
        "What is forgotten of what was taught",
        "",
        figures_along.matrix(picks),
        "Recall of each block of lessons after each evaluation, as heat maps",
    )
    yield _Block("every", "Every setting", tables.every(settings))


def _put(text: str, mark: str, title: str, body: str, page: Path) -> str:
    """The page with `body` between the marks; where it has none, at the end under a title."""
    begin, end = f"<!-- results:begin {mark} -->", f"<!-- results:end {mark} -->"
    counts = text.count(begin), text.count(end)
    if counts == (0, 0):
        if not body:
            return text
        experiment = mark.partition("/")[0]
        return f"{text.rstrip()}\n\n## {title} ({experiment})\n\n{begin}\n{body}\n{end}\n"
    if counts != (1, 1) or text.index(begin) > text.index(end):
        raise InputError(
            f"{page}: the marks {begin} and {end} must stand there once each, in this order"
        )
    before, _, rest = text.partition(begin)
    after = rest.partition(end)[2]
    inside = f"{body}\n" if body else ""
    return f"{before}{begin}\n{inside}{end}{after}"
