"""Large memory pages for a value table on a CPU, where a lookup reads rows all over it.

With pages of 4 KiB nearly every row read is also a miss of the address cache; with pages of 2 MiB
it is not (docs/performance.md has figures). Linux gives such pages to memory that
asks for them; jitted steps that donate the table keep it where it is, so once is enough.
"""

import ctypes
import sys

import jax

_HUGE_PAGE = 2**21
_MADV_HUGEPAGE, _MADV_COLLAPSE = 14, 25  # linux/mman.h


def use_for(table: jax.Array) -> bool:
    """Asks for huge pages under `table`; says whether the system agreed.

    False, with nothing changed, where that is not to be had: off the CPU, off Linux, for a sharded
    or a small array. A Linux before 6.1 changes the pages in the background, later.
    """
    if len(table.devices()) != 1 or next(iter(table.devices())).platform != "cpu":
        return False
    return use_at(table.unsafe_buffer_pointer(), table.nbytes)


def use_at(address: int, num_bytes: int) -> bool:
    """The same for memory at an address, such as that of another library's array."""
    first = -(-address // _HUGE_PAGE) * _HUGE_PAGE
    length = (address + num_bytes) // _HUGE_PAGE * _HUGE_PAGE - first
    if not sys.platform.startswith("linux") or length <= 0:
        return False
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    agreed = madvise(first, length, _MADV_HUGEPAGE) == 0
    madvise(first, length, _MADV_COLLAPSE)
    return agreed
