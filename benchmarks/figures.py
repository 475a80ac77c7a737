"""Writes the tables of docs/performance.md anew from the results of the benchmarks.

python -m benchmarks.figures
"""

import json
from pathlib import Path

from benchmarks.timing import RESULTS

_PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
_BEGIN, _END = "<!-- figures:begin -->\n", "<!-- figures:end -->"


def main() -> None:
    """Replaces what stands between the marks."""
    lookup, step, finetuning = (
        json.loads((RESULTS / f"{name}.json").read_text())["rows"]
        for name in ("lookup", "step", "finetuning")
    )
    text = "\n".join([*_lookups(lookup), "", *_steps(step), "", *_sizes(step, finetuning), ""])
    page = _PAGE.read_text()
    before, after = page.split(_BEGIN)[0], page.split(_END)[1]
    _PAGE.write_text(before + _BEGIN + text + _END + after)


def _lookups(rows: list[dict]) -> list[str]:
    names = ("smem_jax xla", "pytorch", "jnp gather, einsum")
    lines = [
        "| 2**20 slots | this project | PyTorch `embedding_bag` | ratio | jnp gather, einsum |",
        "| --- | --- | --- | --- | --- |",
    ]
    for dtype in ("float32", "bfloat16"):
        for op, text in (
            ("forward", "forward"),
            ("backward", "gradients of weights and of 512 rows"),
        ):
            found = {
                row["implementation"]: row
                for row in rows
                if (row["op"], row["dtype"]) == (op, dtype)
            }
            ours, torch, plain = (f"{_ms(found[name]):.1f} ms" for name in names)
            ratio = found[names[0]]["ratio_to_pytorch"]
            lines.append(f"| {text}, {dtype} | {ours} | {torch} | {ratio:.2f} | {plain} |")
    return lines


def _steps(rows: list[dict]) -> list[str]:
    lines = [
        "| whole step, float32, 2**20 slots, 512 chosen | time | this project's, as a share |",
        "| --- | --- | --- |",
    ]
    compared = [row for row in rows if "ratio_to_jax_dense" in row]
    ours = _ms(next(row for row in compared if row["implementation"] == "smem_jax"))
    for row in compared:
        took = _ms(row)
        lines.append(f"| {row['implementation']} | {took:.0f} ms | {ours / took:.3f} |")
    return lines


def _sizes(rows: list[dict], finetuning: list[dict]) -> list[str]:
    lines = [
        "| slots, bfloat16 | step, reads of 16,384 slots | of all slots "
        "| beyond the table, of its size | step of a 135M model |",
        "| --- | --- | --- | --- | --- |",
    ]
    whole = {row["num_slots"]: f"{_ms(row):.0f} ms" for row in finetuning}
    few, all_slots = (
        {row["num_slots"]: row for row in rows if "beyond_table" in row and row["reads_of"] == name}
        for name in ("16,384 slots", "all slots")
    )
    for num_slots, row in few.items():
        times = f"{_ms(row):.1f} ms | {_ms(all_slots[num_slots]):.1f} ms"
        beyond = f"{row['beyond_table']:.1%}"
        lines.append(
            f"| {num_slots:,} | {times} | {beyond} | {whole.get(num_slots, 'not measured')} |"
        )
    return lines


def _ms(row: dict) -> float:
    return 1e3 * row["seconds_median"]


if __name__ == "__main__":
    main()
