"""What the relevance gate tells apart: questions about a lesson, and all other text.

    python -m benchmarks.relevance [--config FILE] [--output FILE] [--figure FILE]
                                   [SECTION.FIELD=VALUE ...]

Slots are selected for every lesson of configs/stream_facts.py, or of FILE, in order; nothing is
trained, since what a text reads does not depend on the values. Counted is, for each question in
words that are not trained on, the most reads of its own lesson's (or document's) rows in the window
of any of its tokens; for the known set, for questions of the same kind that were never taught and
for windows of WikiText-2, of any one lesson's rows. Writes benchmarks/results/relevance.json and
docs/results/relevance.svg; takes about five minutes of two CPU cores.
"""

import argparse
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import matplotlib as mpl
import numpy as np
import tqdm
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from benchmarks import timing
from benchmarks.pretraining_figure import STYLE
from smem_jax import config as config_module
from smem_jax.data import held_out, wordings
from smem_jax.data.lessons import first_of_document
from smem_jax.data.questions import read_questions
from smem_jax.data.text import read_text
from smem_jax.evaluate.batching import pad_rows
from smem_jax.memory.relevance import co_reads
from smem_jax.models.retrofit import memory_layer
from smem_jax.stream_settings import stream_defaults
from smem_jax.train import learners, prefix, stream_inputs
from smem_jax.train.background import documents
from smem_jax.train.learners.batch import Encoder
from smem_jax.train.stream_inputs import Inputs

_ROOT = Path(__file__).resolve().parents[1]
_THRESHOLDS = (8, 16, 24, 32, 40, 48, 64)
_ROWS_AT_A_TIME = 64
_COLOURS = {
    "taught, in other words": "#0072B2",
    "known before": "#D55E00",
    "never taught": "#CC79A7",
    "WikiText, 256 tokens": "#7F7F7F",
}
_count = jax.jit(co_reads, static_argnums=1)


class Texts(NamedTuple):
    """Token sequences; `lesson` is that which each is about, or None for any."""

    rows: Sequence[list[int]]
    lesson: Sequence[int] | None


def main() -> None:
    """Selects, counts, writes and draws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=_ROOT / "configs" / "stream_facts.py")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--figure", type=Path, default=_ROOT / "docs" / "results" / "relevance.svg")
    parser.add_argument("overrides", nargs="*", metavar="SECTION.FIELD=VALUE")
    args = parser.parse_args()
    # Without moments, of which nothing is needed here.
    overrides = ["learner.optimizer=sgd", *args.overrides]
    config = config_module.load(args.config, overrides, stream_defaults())
    inputs = stream_inputs.load(config)
    groups = _groups(config, inputs)
    most = {
        name: _most(texts, config, inputs, groups) for name, texts in _texts(config, inputs).items()
    }
    rows = [
        {
            "texts": name,
            "count": len(counts),
            "median": float(np.median(counts)),
            **{f"open_at_{t}": float((counts >= t).mean()) for t in _THRESHOLDS},
            "block": config.memory.block,
            "lessons": len(inputs.lessons),
            "top_t": config.learner.top_t,
            "window": config.learner.relevance_window,
        }
        for name, counts in most.items()
    ]
    timing.show(rows, {"texts": "", "count": "", **{f"open_at_{t}": ".4f" for t in _THRESHOLDS}})
    timing.write("relevance", rows, args.output)
    args.figure.write_text(_figure(most, config.learner.relevance_threshold))


def _groups(config: ConfigDict, inputs: Inputs) -> jax.Array:
    """The lesson that each row would be of after the stream, int32 [num_slots].

    Of a document it is the first lesson, as for the gate.
    """
    learner: Any = learners.make(config, inputs.model, inputs.block, inputs.background)
    encoder = Encoder(inputs.tokenizer, inputs.lessons, config.lessons.lengths, False)
    first_of = first_of_document(inputs.lessons)
    for number in tqdm.trange(len(inputs.lessons), desc="selection"):
        first = first_of[number]
        learner.begin(encoder.batches(number, 1)[0], number, group=first)
        groups = learner.state.groups.at[learner.selected].set(first, mode="drop")
        learner.state = learner.state._replace(groups=groups)
    return learner.state.groups


def _texts(config: ConfigDict, inputs: Inputs) -> dict[str, Texts]:
    probes = [
        (probe.prompt, first)
        for first, lesson in zip(first_of_document(inputs.lessons), inputs.lessons, strict=True)
        for probe in lesson.probes
        if probe.kind == "reworded"
    ]
    known = [question.question for question in held_out.read_known(config.evaluate.known)]
    untaught = [question.question for question in read_questions(config.evaluate.untaught)]
    encode = inputs.tokenizer.encode_batch
    wikitext = documents(
        inputs.tokenizer, read_text(config.evaluate.wikitext), [], [], 256, packed=True
    )
    contents = (
        Texts(encode([prompt for prompt, _ in probes]), [first for _, first in probes]),
        Texts(encode(wordings.prompts(known, [wordings.ASK_FRAME])), None),
        Texts(encode(wordings.prompts(untaught, [wordings.ASK_FRAME])), None),
        Texts(wikitext.tokens.tolist(), None),
    )
    return dict(zip(_COLOURS, contents, strict=True))


def _most(texts: Texts, config: ConfigDict, inputs: Inputs, groups: jax.Array) -> np.ndarray:
    """The most reads of one lesson's rows in the window of any token: int32 [texts]."""
    layer = memory_layer(inputs.model, inputs.block)
    longest = max(map(len, texts.rows))
    found = []
    for start in tqdm.trange(0, len(texts.rows), _ROWS_AT_A_TIME, desc="reads"):
        rows = texts.rows[start : start + _ROWS_AT_A_TIME]
        tokens = pad_rows(rows, _ROWS_AT_A_TIME, longest, inputs.tokenizer.pad_id)
        hidden = prefix.run(inputs.model, inputs.block, tokens, None).hidden
        read = np.asarray(groups)[prefix.reads(layer, hidden)[0]]
        counts = np.asarray(_count(read, config.learner.relevance_window))
        lengths = np.asarray([len(row) for row in rows])[:, None, None]
        counts, read = counts[: len(rows)], read[: len(rows)]
        counts = counts * (np.arange(longest)[:, None] < lengths)
        if texts.lesson is not None:
            own = np.asarray(texts.lesson[start : start + _ROWS_AT_A_TIME])
            counts = counts * (read == own[:, None, None])
        found.append(counts.max(axis=(1, 2)))
    return np.concatenate(found)


def _figure(most: dict[str, np.ndarray], threshold: int) -> str:
    with mpl.rc_context(STYLE):
        figure = Figure((7.2, 3.2), layout="constrained", facecolor="white")
        axes = figure.subplots()
        for name, counts in most.items():
            values = np.sort(counts)
            share = 100 * (1 - np.arange(len(values)) / len(values))
            axes.step(values, share, where="pre", color=_COLOURS[name], label=name)
        axes.axvline(threshold, color="#333333", linestyle=":")
        axes.annotate("the gate opens", (threshold, 103), annotation_clip=False, ha="center")
        axes.set(
            xlabel="reads of one lesson's rows within the window",
            ylabel="share of texts with at least so many, %",
            ylim=(0, 101),
        )
        axes.legend(frameon=False)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    return "\n".join(line.rstrip() for line in drawn.getvalue().splitlines()) + "\n"


if __name__ == "__main__":
    main()
