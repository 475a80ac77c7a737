"""What sweeps found: docs/RESULTS.md and its figures, from the lines that they wrote."""

from smem_jax.report.results.comparison import compare
from smem_jax.report.results.document import by_experiment, write

__all__ = ["by_experiment", "compare", "write"]
