"""What the benchmarks share: interleaved timing, bandwidth, a table to read and JSON to keep."""

import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

try:
    from tqdm import trange
except ImportError:  # not everywhere where there is a GPU

    def trange(number, **_):
        """Without a progress bar."""
        return range(number)


from smem_jax.kernels.lookup import backends

RESULTS = Path(__file__).resolve().parent / "results"


def interleaved(calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call in each of `rounds` rounds, in which all calls take turns.

    So whatever else the machine does meets them all alike. As in training, where a step follows one
    of its kind, a timed call follows one that is not timed: else it would pay for the caches and
    the still spinning threads of another library. A call returns when its work is done.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    order = random.Random(0)
    for call in calls.values():
        call()
    for _ in trange(rounds, desc="timing", delay=2, leave=False):
        for name in order.sample(list(calls), len(calls)):
            calls[name]()
            started = time.perf_counter()
            calls[name]()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def copy_bandwidth(num_bytes: int = 2**28, rounds: int = 15) -> float:
    """Bytes read and written per second by an addition in place, the median."""
    add_one = jax.jit(lambda x: x + 1, donate_argnums=0)
    array = jnp.zeros(num_bytes // 4, jnp.float32)

    def call():
        nonlocal array
        array = jax.block_until_ready(add_one(array))

    return 2 * num_bytes / statistics.median(interleaved({"copy": call}, rounds)["copy"])


def machine() -> dict[str, Any]:
    """What the figures were measured on, and with what."""
    device = jax.devices()[0]
    found = {
        "device": device.device_kind,
        "platform": device.platform,
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }
    try:
        import torch
    except ImportError:
        return found
    return found | {"torch": torch.__version__, "torch_threads": torch.get_num_threads()}


def implementations() -> list[str]:
    """Backends of the lookup that this machine can run, the plain form last."""
    found = {"gpu": ["pallas_triton"], "tpu": ["pallas_mosaic_tpu"]}.get(jax.default_backend(), [])
    if backends.compute_capability() >= 9.0:
        found.append("pallas_mosaic_gpu")
    return [*found, "xla", "base"]


def torch_or_none():
    """PyTorch, with as many threads as there are cores; None where it is not installed."""
    try:
        import torch
    except ImportError:
        print("PyTorch is not installed, so nothing is compared with it: pip install '.[bench]'")
        return None
    torch.set_num_threads(os.cpu_count() or 1)
    return torch


def ratio_to(rows: Sequence[dict], name: str, implementation: str, same: Sequence[str]) -> None:
    """Adds to each row its median over that of `implementation` in the row alike in `same`."""
    for row in rows:
        base = next(
            (
                other["seconds_median"]
                for other in rows
                if other["implementation"] == implementation
                and all(other.get(field) == row.get(field) for field in same)
            ),
            None,
        )
        row[name] = None if base is None else row["seconds_median"] / base


def show(rows: Sequence[dict], columns: Mapping[str, str]) -> None:
    """Prints rows as a table; `columns` maps fields to format specifications."""
    cells = [[_cell(row.get(field), form) for field, form in columns.items()] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for line in (list(columns), *cells):
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def write(name: str, rows: Sequence[dict], output: Path | None, **more: Any) -> None:
    """Writes rows with the machine's description to `output`, or to results/NAME.json."""
    path = output or RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": machine(), **more, "rows": list(rows)}, indent=1)
    path.write_text(text + "\n")
    print(f"written to {path}")


def _cell(value: Any, form: str) -> str:
    return "-" if value is None else format(value, form)


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), "")
