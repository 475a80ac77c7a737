"""A tiny model whose answers are short words, and a slow way to ask it."""

import dataclasses

import jax
import numpy as np
import pytest
import tiny_llama
from flax import nnx

from smem_jax.models import pretrained
from smem_jax.models.transformer import Transformer


@pytest.fixture(scope="session")
def talker(tmp_path_factory):
    """A random model of one block that says spaces, two letters and two kinds of ends.

    With it comes its tokenizer, one token a byte.
    """
    path = tiny_llama.write(tmp_path_factory.mktemp("talker"), "grouped_untied")
    base = pretrained.load(str(path))
    config = dataclasses.replace(base.config, num_blocks=1)
    head = base.tensors["lm_head.weight"].copy()
    sayable = [*base.tokenizer.encode(" bc\n"), base.tokenizer.eos_id]
    head[sayable] = np.random.RandomState(0).randn(len(sayable), head.shape[1])
    # The logit of a mean is below the greatest of what it is the mean of.
    others = [index for index in range(len(head)) if index not in sayable]
    head[others] = head[sayable].mean(axis=0)
    tensors = base.tensors | {"lm_head.weight": head}
    return Transformer.from_tensors(config, tensors), base.tokenizer


class Oracle:
    """Runs the whole model over one row at a time, all padded to one length."""

    LENGTH = 320

    def __init__(self, model, tokenizer):
        graphdef, state = nnx.split(model)
        self._logits = jax.jit(lambda tokens: nnx.merge(graphdef, state)(tokens)[0])
        self._tokenizer = tokenizer

    def log_probabilities(self, ids):
        """float64 [len(ids), vocab_size]."""
        padded = np.asarray([ids + [0] * (self.LENGTH - len(ids))])
        logits = np.asarray(self._logits(padded), np.float64)[: len(ids)]
        logits -= logits.max(axis=-1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))

    def nats(self, prompt, answer):
        """Of each token of the answer, which follows the prompt after a space."""
        start, target = (self._tokenizer.encode(text) for text in (prompt, f" {answer}"))
        found = self.log_probabilities(start + target)[len(start) - 1 : -1]
        return -found[np.arange(len(target)), target]

    def says(self, prompt, max_new_tokens):
        """The greedy answer up to an end, not stripped."""
        ids = self._tokenizer.encode(prompt)
        said = []
        for _ in range(max_new_tokens):
            token = int(self.log_probabilities(ids + said)[-1].argmax())
            if token in (*self._tokenizer.special_ids, *self._tokenizer.encode("\n")):
                break
            said.append(token)
        return self._tokenizer.decode(said)


@pytest.fixture(scope="session")
def oracle(talker):
    return Oracle(*talker)
