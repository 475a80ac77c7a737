"""Whether the GPU kernels give what they should, on the GPU: against float64 by numpy.

    python -m benchmarks.gpu_check [--implementations NAME ...] [--output FILE]

Runs each operation of each implementation over shapes of all kinds, twice, and over a table whose
byte offsets exceed 32 bits. Prints the largest error relative to the size of the terms, and whether
both runs gave the same bits. Exits with 1 where an error is above its bound or bits differ.
"""

import argparse
import sys
from pathlib import Path

import jax
import numpy as np

from benchmarks import timing
from smem_jax.kernels.lookup import backends

# num_slots, value_dim, tokens, reads
_SIZES = (
    (1, 1, 1, 1),
    (300, 128, 5, 16),
    (64, 200, 17, 33),
    (5000, 1024, 300, 128),
    (4096, 2048, 64, 100),
)
_LARGE = (2**22 + 2**20, 512, 64, 32)  # 10.7 GB of float32, 5.4 GB of bfloat16
_BOUND = 1e-5


def main() -> None:
    """Checks, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--implementations", nargs="+", default=timing.implementations())
    parser.add_argument("--without-large", action="store_true", help="leave out the large table")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    rows = []
    for sizes in _SIZES if args.without_large else (*_SIZES, _LARGE):
        for dtype in ("float32", "bfloat16"):
            rows += _check(args.implementations, sizes, dtype)
            timing.write("gpu_check", rows, args.output, bound=_BOUND)
    columns = {"implementation": "", "sizes": "", "dtype": "", "op": "", "error": ".1e"}
    timing.show(rows, columns | {"same_bits": "", "reason": ""})
    wrong = [row for row in rows if not _is_right(row)]
    print(f"{len(rows)} checks, {len(wrong)} wrong")
    sys.exit(1 if wrong else 0)


def _check(names, sizes, dtype) -> list[dict]:
    num_slots, value_dim, tokens, reads = sizes
    random = np.random.default_rng(0)
    indices = random.integers(0, num_slots, (tokens, reads), np.int32)
    indices.flat[0] = num_slots - 1
    weights = random.standard_normal((tokens, reads), np.float32)
    cotangent = random.standard_normal((tokens, value_dim), np.float32)
    values = jax.random.normal(jax.random.key(0), (num_slots, value_dim), dtype)
    num_rows = min(num_slots, 700)
    places = np.minimum(indices, num_rows)
    # The rows that are read, fetched by a plain gather of few of them at a time.
    read = np.stack([np.asarray(values[row], np.float64) for row in indices])
    shares = weights[..., None] * cotangent[:, None].astype(np.float64)
    rows_gradient = np.zeros((num_rows + 1, value_dim))
    np.add.at(rows_gradient, places, shares)
    expected = {
        "weighted_sum": np.einsum("tk,tkd->td", weights, read),
        "weights_gradient": np.einsum("td,tkd->tk", cotangent, read),
        "rows_gradient": rows_gradient[:num_rows],
    }
    arguments = {
        "weighted_sum": (values, indices, weights),
        "weights_gradient": (values, indices, cotangent),
        "rows_gradient": (places, weights, cotangent),
    }
    found = []
    for name in names:
        module = backends.load(name)
        for op, wanted in expected.items():
            if not hasattr(module, op):
                continue
            row = {"implementation": name, "sizes": str(sizes), "dtype": dtype, "op": op}
            reason = getattr(module, "unsupported", lambda *_: None)(
                values.shape, values.dtype, tokens, reads
            )
            row |= {"error": None, "same_bits": None, "reason": reason}
            if reason is None:
                more = {"static_argnums": 3} if op == "rows_gradient" else {}
                run = jax.jit(getattr(module, op), **more)
                given = (*arguments[op], num_rows) if more else arguments[op]
                try:
                    first, second = np.asarray(run(*given)), np.asarray(run(*given))
                except Exception as error:  # one kernel that fails is not to hide the others
                    row["reason"], row["same_bits"] = f"failed: {error}"[:300], False
                else:
                    scale = np.sqrt(np.mean(wanted**2)) + 1e-30
                    row["error"] = float(np.max(np.abs(first - wanted)) / scale)
                    row["same_bits"] = first.tobytes() == second.tobytes()
            found.append(row)
    return found


def _is_right(row: dict) -> bool:
    if row["same_bits"] is None:  # it says that it cannot, and is not asked to
        return True
    return row["same_bits"] and row["error"] <= _BOUND


if __name__ == "__main__":
    main()
