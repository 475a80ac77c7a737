"""The slots that a set of sequences can read, numbered anew from 0.

With the reads fixed (the prefix is frozen), training touches no other slot. So values and moments
are kept for these alone, and neither memory nor time depends on the size of the table.
"""

import numpy as np


class WorkingSet:
    """Ascending distinct slots `slots` int32 [num_rows], and the way from slots to rows."""

    def __init__(self, indices: list[np.ndarray]):
        self.slots = np.unique(np.concatenate([np.unique(part) for part in indices]))

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """The row of each slot number, int32; of a slot that is not in the set some row."""
        rows = np.searchsorted(self.slots, indices)
        return np.minimum(rows, len(self.slots) - 1).astype(np.int32)

    def holds(self, indices: np.ndarray) -> np.ndarray:
        """Whether each slot number is in the set."""
        return self.slots[self.rows(indices)] == indices
