"""Which tokens read which slots: shares, core sets, overlaps. Pure functions on numpy arrays.

After the analysis in 'Continual Learning via Sparse Memory Finetuning' (arXiv 2510.15103). A *row*
is one wording of a fact; `indices` int32 [rows, seq, reads] are the slots that each token reads, of
all heads together, `weights` float32 of the same shape their weights, and `mask` bool [rows, seq]
is False for padding. A set of slots is an array of different slot numbers, in any order.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from smem_jax.errors import InputError


class TokenShare(NamedTuple):
    """How much of what a token reads lies in the chosen slots; zeros for padding."""

    weight: np.ndarray  # float32 [rows, seq]: share of the token's read weight, 0 to 1
    reads: np.ndarray  # int32 [rows, seq]: number of its reads


class Readers(NamedTuple):
    """The slots that a fact's rows read, ascending, and how many rows read each."""

    slots: np.ndarray  # int32 [slots]
    num_rows: np.ndarray  # int32 [slots], at least 1
    total_rows: int


class Snippet(NamedTuple):
    """A stretch of a window of ordinary text: its tokens `start` to `stop` (exclusive)."""

    window: int
    start: int
    stop: int
    reads: int  # of the chosen slots


def token_share(
    indices: np.ndarray, weights: np.ndarray, mask: np.ndarray, chosen: np.ndarray
) -> TokenShare:
    """Which tokens read the `chosen` slots.

    Raises InputError for shapes that do not belong together.
    """
    _check_reads(indices, mask)
    if weights.shape != indices.shape:
        raise InputError(f"weights has shape {weights.shape}; {indices.shape} as indices is right")
    is_chosen = np.isin(indices, chosen) & mask[..., None]
    total = np.maximum(weights.sum(axis=-1), np.finfo(np.float32).tiny)
    share = (weights * is_chosen).sum(axis=-1) / total
    return TokenShare(share.astype(np.float32), is_chosen.sum(axis=-1, dtype=np.int32))


def readers(indices: np.ndarray, mask: np.ndarray) -> Readers:
    """By how many of a fact's rows each slot is read, however often in a row."""
    _check_reads(indices, mask)
    per_row = [np.unique(row[is_token]) for row, is_token in zip(indices, mask, strict=True)]
    found, counts = np.unique(np.concatenate(per_row), return_counts=True)
    return Readers(found.astype(np.int32), counts.astype(np.int32), len(indices))


def core_set(found: Readers, at_least: float = 1.0) -> np.ndarray:
    """The slots that at least a share of a fact's rows read: int32, ascending; of 1.0, all of them.

    Raises InputError unless 0 < at_least <= 1.
    """
    return found.slots[found.num_rows >= _least_rows(found, at_least)]


def core_sizes(found: Readers, shares: Sequence[float]) -> np.ndarray:
    """Size of the core set for each share of the rows: int32 [shares]; falls as the share rises."""
    return np.asarray([len(core_set(found, share)) for share in shares], np.int32)


def overlap(sets: Sequence[np.ndarray]) -> np.ndarray:
    """Jaccard index of any two sets, |A and B| / |A or B|: float64 [sets, sets], symmetric.

    It is 1 on the diagonal, and 0 for two different empty sets.
    """
    known = [np.unique(np.asarray(slots, np.int64)) for slots in sets]
    found = np.eye(len(known))
    for i, first in enumerate(known):
        for j in range(i):
            common = len(np.intersect1d(first, known[j], assume_unique=True))
            union = len(first) + len(known[j]) - common
            found[i, j] = found[j, i] = common / union if union else 0.0
    return found


def expected_overlap(first: int, second: int, num_slots: int) -> float:
    """Expected Jaccard index of two random sets of `first` and `second` out of `num_slots` slots.

    The number of slots in both is hypergeometric; the expectation is exact but for rounding. Raises
    InputError for a size below 0 or above `num_slots`.
    """
    for size in (first, second):
        if not 0 <= size <= num_slots:
            raise InputError(f"a set of {size} slots must be of 0 to num_slots={num_slots}")
    if first + second == 0:
        return 0.0
    common = np.arange(max(0, first + second - num_slots), min(first, second) + 1)
    # Ratios of neighbouring probabilities, since factorials of num_slots would overflow.
    k = common[:-1].astype(np.float64)
    ratios = np.log((first - k) * (second - k)) - np.log(
        (k + 1) * (num_slots - first - second + k + 1)
    )
    logs = np.concatenate([[0.0], np.cumsum(ratios)])
    chances = np.exp(logs - logs.max())
    return float(np.sum(chances * common / (first + second - common)) / chances.sum())


def background_reads(indices: np.ndarray, mask: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Reads of the chosen slots by each token of ordinary text: int32 [documents, seq].

    Args:
      indices: int32 [documents, seq, reads].
      mask: bool [documents, seq]; padding reads nothing.
    """
    _check_reads(indices, mask)
    return (np.isin(indices, chosen) & mask[..., None]).sum(axis=-1, dtype=np.int32)


def background_readers(reads: np.ndarray, width: int, num_snippets: int) -> list[Snippet]:
    """The stretches of ordinary text that read the chosen slots most, the most first.

    Of each window its best stretch of at most `width` tokens is a candidate; one that reads none is
    left out. Of equals the first goes first.

    Args:
      reads: int32 [windows, seq], from `background_reads`.
    """
    width = min(width, reads.shape[1])
    sums = np.cumsum(np.pad(reads.astype(np.int64), ((0, 0), (1, 0))), axis=1)
    stretches = sums[:, width:] - sums[:, :-width]  # [windows, seq - width + 1]
    starts = stretches.argmax(axis=1)
    most = stretches[np.arange(len(reads)), starts]
    order = np.argsort(-most, kind="stable")[:num_snippets]
    return [
        Snippet(int(window), int(starts[window]), int(starts[window]) + width, int(most[window]))
        for window in order
        if most[window] > 0
    ]


class RoleShare(NamedTuple):
    """What the tokens of one role are, and what they read."""

    tokens: float  # share of all tokens
    chosen_reads: float  # share of all reads of chosen slots; 0 where there are none
    weight: float  # mean share of a token's read weight in chosen slots; NaN without tokens


def role_shares(
    found: TokenShare, roles: np.ndarray, mask: np.ndarray, num_roles: int
) -> list[RoleShare]:
    """Who reads the chosen slots, by the role of a token.

    Args:
      found: of all rows, from `token_share`.
      roles: int [rows, seq], from 0 to num_roles - 1; of padding, anything.
      mask: bool [rows, seq].
    """
    kinds = roles[mask]
    tokens = np.bincount(kinds, minlength=num_roles)
    reads = np.bincount(kinds, weights=found.reads[mask], minlength=num_roles)
    weight = np.bincount(kinds, weights=found.weight[mask], minlength=num_roles)
    return [
        RoleShare(
            tokens[role] / max(tokens.sum(), 1),
            reads[role] / max(reads.sum(), 1),
            weight[role] / tokens[role] if tokens[role] else float("nan"),
        )
        for role in range(num_roles)
    ]


def _least_rows(found: Readers, at_least: float) -> int:
    if not 0 < at_least <= 1:
        raise InputError(f"at_least={at_least} must be above 0 and at most 1")
    # Rounded first, so that 0.3 of 10 rows, which is a little above 3, does not ask for 4.
    return int(np.ceil(round(at_least * found.total_rows, 9)))


def _check_reads(indices: np.ndarray, mask: np.ndarray) -> None:
    if indices.ndim != 3 or mask.shape != indices.shape[:2] or not indices.size:
        raise InputError(
            f"indices of shape {indices.shape} and mask of shape {mask.shape}; "
            "[rows, seq, reads] and [rows, seq], with a read at least, are right"
        )
