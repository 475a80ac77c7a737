"""A cheap identity for a base model."""

import hashlib
from collections.abc import Mapping

import numpy as np

_SAMPLES = 64


def fingerprint(tensors: Mapping[str, np.ndarray]) -> str:
    """A hash of the names, the shapes and 64 evenly spaced float32 values of every tensor.

    Returns 64 hexadecimal digits, the same for any order of the mapping. It tells one checkpoint
    from another in milliseconds; it is no proof that every weight is equal.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = np.asarray(tensors[name])
        places = np.linspace(0, tensor.size - 1, _SAMPLES).astype(np.int64)
        sample = tensor[np.unravel_index(places, tensor.shape)].astype("<f4")
        digest.update(f"{name}{tensor.shape}".encode())
        digest.update(sample.tobytes())
    return digest.hexdigest()
