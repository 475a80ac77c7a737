"""The model of a `smem train` work directory, to teach, to ask and to measure."""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from flax import nnx

from smem_jax import sharding
from smem_jax.data.byte_tokenizer import ByteTokenizer, open_tokenizer
from smem_jax.models.pretrained import Tokenizer, fingerprint
from smem_jax.models.transformer import Transformer
from smem_jax.train import init, job_dir, job_model
from smem_jax.train.program import Program


class Subject(NamedTuple):
    """A trained model with its memory layers, where it has any, on one device.

    `fingerprint` tells this model from another, as that of a pretrained checkpoint does.
    """

    model: Transformer
    tokenizer: Tokenizer | ByteTokenizer
    fingerprint: str


def load(workdir: str | Path) -> Subject:
    """The model of the newest checkpoint in a work directory of `smem train`.

    The job may be under way, may have run on any mesh and with either objective; nothing of it is
    changed. Raises InputError where there is no such directory, no checkpoint in it, or its
    tokenizer is gone.
    """
    workdir = Path(workdir)
    config = job_dir.read_config(workdir)
    tokenizer = open_tokenizer(config.data.tokenizer)
    with config.unlocked():
        config.mesh.update(dict.fromkeys(sharding.MESH_AXES, 1))
    program = Program(config, jax.devices()[:1])
    arrays = init.newest(program.state, workdir)
    device = jax.devices()[0]
    params, values = (jax.device_put(arrays[name], device) for name in ("params", "values"))
    graphdef = nnx.graphdef(nnx.eval_shape(lambda: job_model.build(config, nnx.Rngs(0))))
    model = nnx.merge(graphdef, params, values)
    tensors = {
        ".".join(map(str, path)): np.asarray(leaf[...])
        for path, leaf in nnx.to_flat_state(nnx.state(model))
    }
    return Subject(model, tokenizer, fingerprint(tensors))
