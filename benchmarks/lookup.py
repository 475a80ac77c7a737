"""The lookup and its gradients beside PyTorch and beside plain jnp.

    python -m benchmarks.lookup [--num-slots N] [--implementations xla base ...] [--output FILE]

Prints a table and writes benchmarks/results/lookup.json: the median seconds of rounds in which all
implementations take turns, their ratio to PyTorch's `embedding_bag`, and the bytes of rows read per
second beside what a copy reaches on this machine. The backward pass is the gradient of the weights
and of 512 chosen rows; PyTorch has no form for chosen rows, so there it is that of the weights and
all rows read (`sparse=True`).
"""

import argparse
import functools
import statistics
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from smem_jax import slots
from smem_jax.kernels import huge_pages
from smem_jax.kernels.lookup import lookup, lookup_with_delta

_COLUMNS = {
    "op": "",
    "implementation": "",
    "dtype": "",
    "seconds_median": ".5f",
    "ratio_to_pytorch": ".2f",
    "bytes_per_second": ".3g",
    "of_copy_bandwidth": ".2f",
}
_CHOSEN = 512
_BYTES = {"float32": 4, "bfloat16": 2}


def main() -> None:
    """Measures, prints and writes."""
    on_gpu = jax.default_backend() == "gpu"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-slots", type=int, default=2**20)
    parser.add_argument("--value-dim", type=int, default=1024 if on_gpu else 256)
    parser.add_argument("--tokens", type=int, default=8192 if on_gpu else 2048)
    parser.add_argument("--reads", type=int, default=128)
    parser.add_argument("--dtypes", nargs="+", choices=_BYTES, default=list(_BYTES))
    parser.add_argument("--implementations", nargs="+", default=timing.implementations())
    parser.add_argument("--small-pages", action="store_true", help="no huge pages on a CPU")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()

    torch = timing.torch_or_none()
    bandwidth = timing.copy_bandwidth()
    rows = []
    for dtype in args.dtypes:
        calls = _ours(args, dtype) | (_torch(torch, args, dtype) if torch else {})
        read = args.tokens * args.reads * args.value_dim * _BYTES[dtype]
        calls = {key: call for key, call in calls.items() if _runs(key, call)}
        for (op, name), seconds in timing.interleaved(calls, args.rounds).items():
            median = statistics.median(seconds)
            rows.append(
                {
                    "op": op,
                    "implementation": name,
                    "num_slots": args.num_slots,
                    "dtype": dtype,
                    "seconds_median": median,
                    "seconds_min": min(seconds),
                    "bytes_per_second": read / median,
                    "of_copy_bandwidth": read / median / bandwidth,
                }
            )
    timing.ratio_to(rows, "ratio_to_pytorch", "pytorch", ("op", "dtype"))
    timing.show(rows, _COLUMNS)
    print(f"a copy reads and writes {bandwidth:.3g} bytes per second")
    timing.write("lookup", rows, args.output, sizes=_sizes(args), copy_bytes_per_second=bandwidth)


def _runs(key: tuple[str, str], call: Callable) -> bool:
    """Whether a call does not fail: one that does is not to hide what the others take."""
    try:
        call()
    except Exception as error:
        print(*key, "failed:", str(error)[:300])
        return False
    return True


def _sizes(args) -> dict[str, int]:
    return {name: getattr(args, name) for name in ("num_slots", "value_dim", "tokens", "reads")}


@functools.cache
def _arrays(num_slots, value_dim, tokens, reads):
    """Values, indices, weights and cotangent as numpy arrays; the same for all."""
    rng = np.random.default_rng(0)
    return (
        rng.standard_normal((num_slots, value_dim), np.float32),
        rng.integers(0, num_slots, (tokens, reads), np.int32),
        rng.random((tokens, reads), np.float32),
        rng.standard_normal((tokens, value_dim), np.float32),
    )


def _ours(args, dtype) -> dict:
    values, indices, weights, cotangent = map(jnp.asarray, _arrays(*_sizes(args).values()))
    values = jax.block_until_ready(values.astype(dtype))
    if not args.small_pages:
        huge_pages.use_for(values)
    places = slots.places(jnp.sort(indices.ravel()[:_CHOSEN]), indices)
    delta = jnp.zeros((_CHOSEN, args.value_dim))

    @functools.partial(jax.jit, static_argnames="name")
    def forward(values, indices, weights, name):
        return lookup(values, indices, weights, name)

    @functools.partial(jax.jit, static_argnames="name")
    def backward(values, delta, places, indices, weights, cotangent, name):
        _, pullback = jax.vjp(
            lambda delta, weights: lookup_with_delta(values, delta, places, indices, weights, name),
            delta,
            weights,
        )
        return pullback(cotangent)

    calls = {}
    for name in args.implementations:

        def forward_call(name=name):
            return jax.block_until_ready(forward(values, indices, weights, name))

        def backward_call(name=name):
            arrays = (values, delta, places, indices, weights, cotangent)
            return jax.block_until_ready(backward(*arrays, name))

        label = "jnp gather, einsum" if name == "base" else f"smem_jax {name}"
        calls["forward", label] = forward_call
        calls["backward", label] = backward_call
    return calls


def _torch(torch, args, dtype) -> dict:
    embedding_bag = torch.nn.functional.embedding_bag
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = getattr(torch, dtype)
    arrays = map(torch.from_numpy, _arrays(*_sizes(args).values()))
    values, indices, weights, cotangent = (array.to(device) for array in arrays)
    values, weights, cotangent = (array.to(dtype) for array in (values, weights, cotangent))
    values.requires_grad_()
    weights.requires_grad_()
    if device == "cpu" and not args.small_pages:
        huge_pages.use_at(values.data_ptr(), values.numel() * values.element_size())

    def wait():
        if device == "cuda":
            torch.cuda.synchronize()

    def run(sparse=False):
        return embedding_bag(indices, values, per_sample_weights=weights, mode="sum", sparse=sparse)

    def forward():
        with torch.no_grad():
            run()
        wait()

    def backward():
        torch.autograd.grad(summed, (values, weights), cotangent, retain_graph=True)
        wait()

    summed = run(sparse=True)
    return {("forward", "pytorch"): forward, ("backward", "pytorch"): backward}


if __name__ == "__main__":
    main()
