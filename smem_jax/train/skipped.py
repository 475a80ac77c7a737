"""Steps that are not applied, since their loss or their gradient is not finite.

A step gives NaN as its loss then, and leaves every array as it was. One such batch does no harm;
many in a row mean that the run has diverged, or that its data are broken.
"""

import math
import sys
from typing import Any

import jax
import jax.numpy as jnp

from smem_jax.errors import InputError


def all_finite(tree: Any) -> jax.Array:
    """Whether no array of a pytree holds NaN or infinity, as a bool scalar."""
    flags = jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)])
    # Else XLA gathers all flags anew for each array that depends on them, and takes minutes to
    # compile that for the hundreds of arrays of a model.
    return jnp.all(jax.lax.optimization_barrier(flags))


class Skipped:
    """Counts them: `total`, and those `in_a_row` up to now, of which `limit` end the run."""

    def __init__(self, limit: int):
        self.total = 0
        self._limit = limit
        self.in_a_row = 0
        self._open: list[tuple[str, jax.Array | float]] = []

    def add(self, step: str, loss: jax.Array | float) -> None:
        """Notes the loss of a step, such as 'batch 7', without waiting for it."""
        self._open.append((step, loss))

    def check(self) -> None:
        """Waits for the losses noted since the last call, and names the steps that were skipped.

        Raises InputError where there are too many in a row.
        """
        for step, loss in self._open:
            if math.isfinite(loss):
                self.in_a_row = 0
                continue
            self.total += 1
            self.in_a_row += 1
            if jax.process_index() == 0:
                print(
                    f"smem: warning: {step} is skipped: its loss or its gradient is not finite",
                    file=sys.stderr,
                    flush=True,
                )
            if self.in_a_row >= self._limit:
                raise InputError(
                    f"{step}: {self.in_a_row} in a row have a loss or a gradient that is not "
                    "finite; the checkpoint before them is kept, and --overwrite starts anew, such "
                    "as with a lower learning rate"
                )
        self._open.clear()
