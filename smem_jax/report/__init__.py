"""What a run gave, as a table for the terminal and as an HTML page with figures."""

from smem_jax.report.page import write
from smem_jax.report.table import examples, table

__all__ = ["examples", "table", "write"]
