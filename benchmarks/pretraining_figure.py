"""The curves and the table of docs/pretraining.md."""

import io
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

_COLOURS = {"memory": "#3b82f6", "dense": "#8a919c"}
_LABELS = {"memory": "with memory", "dense": "dense"}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "smem_jax",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The comparison as a Markdown table: a line for each model, and one of the differences."""
    compared = [row for row in rows if row["purpose"] == "comparison"]
    seeds = sorted({row["seed"] for row in compared})
    lines = [
        "| model | parameters | values | MFLOP a token | learning rate |"
        + "".join(f" held-out loss, seed {seed} |" for seed in seeds),
        "| --- |" + " --- |" * (4 + len(seeds)),
    ]
    losses = {(row["model"], row["seed"]): row["held_out_loss"] for row in compared}
    for model, label in _LABELS.items():
        row = next(row for row in compared if row["model"] == model)
        sizes = f"{row['parameters'] / 1e6:.2f}M | {row['values'] / 1e6:.2f}M"
        cost = f"{row['flops_per_token'] / 1e6:.3f} | {row['learning_rate']:g}"
        own = "".join(f" {losses[model, seed]:.3f} |" for seed in seeds)
        lines.append(f"| {label} | {sizes} | {cost} |{own}")
    gaps = "".join(f" {losses['memory', s] - losses['dense', s]:+.3f} |" for s in seeds)
    lines.append(f"| with memory, less dense | | | | |{gaps}")
    return "\n".join(lines) + "\n"


def curves(rows: Sequence[dict[str, Any]]) -> str:
    """Held-out loss over tokens, one line a seed; and the loss of memory less that of dense.

    `rows` are those of benchmarks/results/pretraining.json with the purpose 'comparison'; others
    are left out.
    """
    compared = [row for row in rows if row["purpose"] == "comparison"]
    by_seed: dict[int, dict[str, dict[int, float]]] = defaultdict(dict)
    with mpl.rc_context(STYLE):
        figure = Figure((7.2, 3.2), layout="constrained", facecolor="white")
        whole, difference = figure.subplots(1, 2, width_ratios=(3, 2))
        for row in compared:
            label = _LABELS[row["model"]] if row["seed"] == compared[0]["seed"] else None
            tokens = [step * row["tokens_per_step"] / 1e6 for step, _ in row["curve"]]
            losses = [loss for _, loss in row["curve"]]
            whole.plot(tokens, losses, ".-", color=_COLOURS[row["model"]], label=label)
            by_seed[row["seed"]][row["model"]] = dict(zip(tokens, losses, strict=True))
        for seed, models in sorted(by_seed.items()):
            if set(models) == set(_LABELS):
                both = sorted(set(models["memory"]) & set(models["dense"]))
                gaps = [models["memory"][at] - models["dense"][at] for at in both]
                difference.plot(both, gaps, ".-", label=f"seed {seed}")
        difference.axhline(0, color="black", linewidth=0.8)
        whole.set_ylabel("held-out loss, nats a token")
        difference.set_ylabel("with memory, less dense")
        for axes in (whole, difference):
            axes.set_xlabel("tokens, millions")
            axes.legend(frameon=False)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
