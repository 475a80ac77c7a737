"""A memory model beside a dense one of as many FLOPs a token: loss on text held out of both.

    python configs/pretrain/make_text.py ...                # as docs/pretraining.md has it
    python -m benchmarks.pretraining [--seeds 0 1] [--output FILE] [SECTION.FIELD=VALUE ...]

The models are configs/pretrain/tiny.py and tiny_dense.py, on the same rows in the same order. Each
is trained whole at every learning rate with the first seed, and with the others at the rate that
left it the lowest loss; a sixth of the steps does not tell which that is. A run in `--workdir` that
was cut off goes on; results are written after each. Writes benchmarks/results/pretraining.json, and
the figure and the table of docs/pretraining.md.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from flax import nnx
from ml_collections import ConfigDict

from benchmarks import pretraining_figure, timing
from smem_jax import config as config_module
from smem_jax.job_settings import job_defaults
from smem_jax.train import job, job_model
from smem_jax.train.flops import step_flops

_ROOT = Path(__file__).resolve().parents[1]
_CONFIGS = {
    "memory": _ROOT / "configs" / "pretrain" / "tiny.py",
    "dense": _ROOT / "configs" / "pretrain" / "tiny_dense.py",
}
_BEGIN, _END = "<!-- table:begin -->\n", "<!-- table:end -->\n"
_COLUMNS = {
    "purpose": "",
    "model": "",
    "seed": "",
    "learning_rate": "",
    "steps": "",
    "held_out_loss": ".4f",
}


def main() -> None:
    """Trains what is not trained yet, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--learning-rates", type=float, nargs="+", default=[3e-3, 6e-3])
    parser.add_argument("--workdir", type=Path, default=_ROOT / "runs" / "pretraining")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--docs", type=Path, default=_ROOT / "docs")
    parser.add_argument("overrides", nargs="*", metavar="SECTION.FIELD=VALUE", help="of both")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []

    def add(purpose: str, model: str, config: ConfigDict) -> float:
        name = f"{model}-{config.pretrain.learning_rate:g}-{config.train.steps}-{config.seed}"
        rows.append(_row(purpose, model, config, args.workdir / name))
        timing.write("pretraining", rows, args.output)
        return rows[-1]["held_out_loss"]

    best = {}
    for model in _CONFIGS:
        losses = {
            rate: add("trial", model, _config(model, args.overrides, rate, args.seeds[0]))
            for rate in args.learning_rates
        }
        best[model] = min(losses, key=losses.__getitem__)
    for seed in args.seeds:
        for model, rate in best.items():
            add("comparison", model, _config(model, args.overrides, rate, seed))
    timing.show(rows, _COLUMNS)
    (args.docs / "pretraining.svg").write_text(pretraining_figure.curves(rows))
    page = args.docs / "pretraining.md"
    before, _, rest = page.read_text().partition(_BEGIN)
    page.write_text(before + _BEGIN + pretraining_figure.table(rows) + _END + rest.split(_END)[1])


def _config(model: str, overrides: Sequence[str], learning_rate: float, seed: int) -> ConfigDict:
    """A model's configuration; the learning rate of the values stays as in its file."""
    more = [
        f"seed={seed}",
        f"pretrain.learning_rate={learning_rate}",
        f"pretrain.final_learning_rate={learning_rate / 10}",
    ]
    return config_module.load(_CONFIGS[model], [*overrides, *more], job_defaults())


def _row(purpose: str, model: str, config: ConfigDict, workdir: Path) -> dict[str, Any]:
    """Trains it, unless that is done, and says what came of it."""
    print(f"{purpose}: {workdir}", flush=True)
    try:
        summary = job.run(config, workdir)
    except job.Stopped as stopped:
        raise SystemExit(f"{stopped}; the same command goes on") from stopped
    tokens = config.train.batch_size * config.data.seq_len
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    params, values = _sizes(config)
    return {
        "purpose": purpose,
        "model": model,
        "seed": config.seed,
        "learning_rate": config.pretrain.learning_rate,
        "values_learning_rate": config.pretrain.values_learning_rate if values else None,
        "steps": config.train.steps,
        "tokens_per_step": tokens,
        "flops_per_token": step_flops(config) / tokens,
        "parameters": params,
        "values": values,
        "held_out_loss": summary["last"]["held_out_loss"],
        "curve": [[x["step"], x["held_out_loss"]] for x in lines if "held_out_loss" in x],
        "slot_entropy": [[x["step"], x["slot_entropy"]] for x in lines if "slot_entropy" in x],
        "seconds_of_last_part": summary["seconds_since_start"],
        "versions": summary["versions"],
    }


def _sizes(config: ConfigDict) -> tuple[int, int]:
    """Numbers of parameters but for the value tables, and in these."""
    model = nnx.eval_shape(lambda: job_model.build(config, nnx.Rngs(0)))
    params, values = (
        sum(leaf.size for leaf in jax.tree.leaves(part))
        for part in job_model.params_and_values(model)
    )
    return params, values


if __name__ == "__main__":
    main()
