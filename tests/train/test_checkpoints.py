"""The latest state of a run on one device."""

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from smem_jax.train.checkpoints import TrainCheckpoints


def test_a_saved_state_takes_the_place_of_the_first_one(tmp_path):
    with TrainCheckpoints(tmp_path, ConfigDict({"seed": 0})) as checkpoints:
        first = {"rows": jnp.arange(4.0)}
        step, state = checkpoints.restore(first)
        assert (step, state is first) == (0, True)
        checkpoints.save(3, {"rows": jnp.arange(4.0) + 1})
        step, state = checkpoints.restore(first)
        assert first["rows"].is_deleted()  # so that there is no need of room for both
    assert step == 3
    np.testing.assert_array_equal(state["rows"], [1, 2, 3, 4])
