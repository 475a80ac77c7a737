"""Memory patches: what was learned, as a small file (docs/patches.md).

`save` and `load` files, `PatchedTable` puts patches on a value table and takes them off again,
`combined` adds patches up, `merge` makes one of several, and `diff` compares two.
"""

from smem_jax.patch.directory import LEARNED
from smem_jax.patch.file import load, save, summary
from smem_jax.patch.make import make, restored
from smem_jax.patch.merge import Merged, diff, merge
from smem_jax.patch.patch import About, Layout, Patch, name_for
from smem_jax.patch.table import Combined, PatchedTable, combined, put

__all__ = [
    "LEARNED",
    "About",
    "Combined",
    "Layout",
    "Merged",
    "Patch",
    "PatchedTable",
    "combined",
    "diff",
    "load",
    "make",
    "merge",
    "name_for",
    "put",
    "restored",
    "save",
    "summary",
]
