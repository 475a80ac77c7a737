"""A whole training step of the table: lookup, both gradients, selection, update.

    python -m benchmarks.step [--against-dense 2**20] [--sizes 2**14 2**18 2**22] [--output FILE]

Two tables, and benchmarks/results/step.json. In the first, this project beside what a user would
take instead: PyTorch's `embedding_bag` with sparse and with dense gradients, masked, and the dense
form in JAX. In the second, this project alone with more and more slots, which a step should not
notice: reads go to 16,384 slots spread over the table, or to all of it evenly (then a large table
also is read from memory and a small one from cache, whatever the code does).

A step takes the gradient of the weights and of the rows, selects 512 slots by TF-IDF and moves
these rows by SGD. The loss is half the squared distance of the looked up sums from a fixed array.
"""

import argparse
import functools
import statistics
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import timing
from smem_jax import bits, scratch
from smem_jax.kernels import huge_pages
from smem_jax.kernels.lookup import lookup, lookup_with_delta
from smem_jax.optim import mask_by_top_slots, row_sgd

_TOP_T, _DOCUMENTS, _RATE, _SPREAD = 512, 1000, 0.1, 2**14
_COLUMNS = {
    "implementation": "",
    "num_slots": ",",
    "dtype": "",
    "reads_of": "",
    "seconds_median": ".5f",
    "ratio_to_pytorch": ".3f",
    "ratio_to_smallest": ".3f",
    "beyond_table": ".4f",
}


def main() -> None:
    """Measures, prints and writes."""
    on_gpu = jax.default_backend() == "gpu"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against-dense", type=integer, default=2**20, metavar="SLOTS")
    parser.add_argument("--sizes", type=integer, nargs="+", default=[2**14, 2**18, 2**20, 2**22])
    parser.add_argument("--value-dim", type=int, default=1024 if on_gpu else 256)
    parser.add_argument("--tokens", type=int, default=8192 if on_gpu else 2048)
    parser.add_argument("--reads", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()

    rows = _against_others(args) + _over_sizes(args)
    sizes = {name: getattr(args, name) for name in ("value_dim", "tokens", "reads")}
    timing.write("step", rows, args.output, sizes=sizes)


def _against_others(args) -> list[dict]:
    torch, dtype = timing.torch_or_none(), "bfloat16" if _on_gpu() else "float32"
    data = _Data(args, args.against_dense, dtype, spread=None)
    calls = {"smem_jax": _sparse_step(data)[0], "jax dense, masked": _dense_step(data)}
    if torch:
        calls["pytorch"] = _torch_step(torch, data, sparse=True)
        calls["pytorch dense, masked"] = _torch_step(torch, data, sparse=False)
    rows = [
        _row(name, args.against_dense, dtype, "all slots", seconds)
        for name, seconds in timing.interleaved(calls, args.rounds).items()
    ]
    timing.ratio_to(rows, "ratio_to_pytorch", "pytorch", ("num_slots",))
    timing.ratio_to(rows, "ratio_to_jax_dense", "jax dense, masked", ("num_slots",))
    timing.show(rows, _COLUMNS | {"ratio_to_jax_dense": ".3f"})
    return rows


def _over_sizes(args) -> list[dict]:
    rows = []
    for spread, name in ((_SPREAD, f"{_SPREAD:,} slots"), (None, "all slots")):
        steps = {}
        for num_slots in args.sizes:
            data = _Data(args, num_slots, "bfloat16", spread)
            steps[num_slots] = _sparse_step(data)
        calls = {num_slots: call for num_slots, (call, _) in steps.items()}
        seconds = timing.interleaved(calls, args.rounds)
        part = [_row("smem_jax", n, "bfloat16", name, seconds[n]) for n in args.sizes]
        for row in part:
            row["ratio_to_smallest"] = row["seconds_median"] / part[0]["seconds_median"]
            table_bytes = row["num_slots"] * args.value_dim * 2
            row["beyond_table"] = steps[row["num_slots"]][1] / table_bytes
        timing.show(part, _COLUMNS)
        rows += part
        del steps, calls  # and with them the tables
    return rows


def _row(name, num_slots, dtype, reads_of, seconds) -> dict:
    return {
        "op": "step",
        "implementation": name,
        "num_slots": num_slots,
        "dtype": dtype,
        "reads_of": reads_of,
        "seconds_median": statistics.median(seconds),
        "seconds_min": min(seconds),
    }


class _Data:
    """One batch as numpy arrays, its reads drawn from `spread` slots of the table or from all."""

    def __init__(self, args, num_slots: int, dtype: str, spread: int | None):
        random = np.random.default_rng(0)
        self.num_slots, self.value_dim, self.dtype = num_slots, args.value_dim, dtype
        shape = (args.tokens, args.reads)
        self.indices = random.integers(0, num_slots, shape, np.int32)
        if spread is not None:
            slots = random.permutation(num_slots)[:spread].astype(np.int32)
            self.indices = slots[random.integers(0, spread, shape)]
        self.weights = random.random(shape, np.float32)
        self.target = random.standard_normal((args.tokens, args.value_dim), np.float32)
        self.frequency = random.integers(0, _DOCUMENTS, num_slots, np.int32)


def table(num_slots: int, value_dim: int, dtype: str) -> jax.Array:
    """Some table, on a CPU in huge pages and, of bfloat16, as its bits."""

    @jax.jit
    def fill():
        row = jnp.arange(num_slots, dtype=jnp.int32)[:, None]
        column = jnp.arange(value_dim, dtype=jnp.int32)
        values = ((row * 31 + column * 17) % 251 / 251 - 0.5).astype(dtype)
        return bits.encode(values) if dtype == "bfloat16" and not _on_gpu() else values

    filled = jax.block_until_ready(fill())
    huge_pages.use_for(filled)
    return filled


def _sparse_step(data: _Data):
    """A call that takes one step, and the bytes that it needs beyond the table.

    On a CPU a table of bfloat16 is kept as its bits.
    """
    optimizer = row_sgd()

    @functools.partial(jax.jit, donate_argnums=(0, 1, 2))
    def step(values, state, array, frequency, indices, weights, target):
        selection, places, array = scratch.select(array, indices, frequency, _DOCUMENTS, _TOP_T)

        def loss(delta, weights):
            looked_up = lookup_with_delta(values, delta, places, indices, weights)
            return jnp.sum((looked_up - target) ** 2) / 2

        delta = jnp.zeros((_TOP_T, data.value_dim))
        total, grads = jax.value_and_grad(loss, argnums=(0, 1))(delta, weights)
        values, state = optimizer.update(values, state, selection.slots, grads[0], _RATE)
        return values, state, array, (total, grads[1])

    values = table(data.num_slots, data.value_dim, data.dtype)
    kept = [values, optimizer.init(values), scratch.new(data.num_slots)]
    rest = [jnp.asarray(a) for a in (data.frequency, data.indices, data.weights, data.target)]
    del values
    compiled = step.lower(*kept, *rest).compile()
    memory = compiled.memory_analysis()
    beyond = memory.temp_size_in_bytes + memory.argument_size_in_bytes - kept[0].nbytes
    beyond += memory.output_size_in_bytes - memory.alias_size_in_bytes

    def call():
        *kept[:], out = compiled(*kept, *rest)
        jax.block_until_ready(out)

    return call, beyond


def _dense_step(data: _Data):
    optimizer = optax.chain(optax.sgd(_RATE), mask_by_top_slots(_TOP_T, data.frequency, _DOCUMENTS))

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(values, state, indices, weights, target):
        def loss(values, weights):
            return jnp.sum((lookup(values, indices, weights) - target) ** 2) / 2

        total, grads = jax.value_and_grad(loss, argnums=(0, 1))(values, weights)
        updates, state = optimizer.update(grads[0], state, values, slot_counts=indices)
        return optax.apply_updates(values, updates), state, (total, grads[1])

    values = table(data.num_slots, data.value_dim, data.dtype)
    kept = [values, optimizer.init(values)]
    rest = [jnp.asarray(array) for array in (data.indices, data.weights, data.target)]
    del values

    def call():
        *kept[:], out = step(*kept, *rest)
        jax.block_until_ready(out)

    return call


def _torch_step(torch, data: _Data, sparse: bool):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = getattr(torch, data.dtype)
    values = torch.randn(data.num_slots, data.value_dim, dtype=dtype, device=device)
    if device == "cpu":
        huge_pages.use_at(values.data_ptr(), values.numel() * values.element_size())
    values.requires_grad_()
    indices = torch.from_numpy(data.indices).to(device)
    weights = torch.from_numpy(data.weights).to(device, dtype).requires_grad_()
    target = torch.from_numpy(data.target).to(device, dtype)
    frequency = torch.from_numpy(data.frequency).to(device)
    idf = torch.log((_DOCUMENTS + 1) / (1 + frequency.float()))

    def call():
        summed = torch.nn.functional.embedding_bag(
            indices, values, per_sample_weights=weights, mode="sum", sparse=sparse
        )
        grad, _ = torch.autograd.grad(summed, (values, weights), summed.detach() - target)
        counts = torch.bincount(indices.ravel(), minlength=data.num_slots)
        chosen = torch.zeros(data.num_slots, dtype=torch.bool, device=device)
        chosen[torch.topk(counts * idf, _TOP_T).indices] = True
        with torch.no_grad():
            if sparse:  # as it comes, a row for each read: to sum equal ones first takes longer
                rows = grad._indices()[0]
                kept = chosen[rows]
                values.index_add_(0, rows[kept], grad._values()[kept], alpha=-_RATE)
            else:
                values.add_(grad.mul_(chosen[:, None]), alpha=-_RATE)
        if device == "cuda":
            torch.cuda.synchronize()

    return call


def _on_gpu() -> bool:
    return jax.default_backend() == "gpu"


def integer(text: str) -> int:
    """'2**20' or '1048576'."""
    base, _, power = text.partition("**")
    return int(base) ** int(power or 1)


if __name__ == "__main__":
    main()
