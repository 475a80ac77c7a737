"""Answers of a taught model."""

from collections.abc import Sequence
from pathlib import Path

from smem_jax import config as config_module
from smem_jax.data import wordings
from smem_jax.errors import InputError
from smem_jax.evaluate import generate
from smem_jax.evaluate.measure import ASK_FRAME
from smem_jax.models import pretrained
from smem_jax.models.retrofit import memory_layer
from smem_jax.models.transformer import Transformer
from smem_jax.settings import defaults
from smem_jax.train import background, checkpoints, retrofitted


def restore(workdir: Path) -> tuple[Transformer, pretrained.Tokenizer, int]:
    """The taught model of a finished run, its tokenizer, and how many tokens an answer may take.

    Raises InputError where `workdir` holds no finished run, or the base model has changed since.
    """
    path = workdir / "config.json"
    if not path.is_file():
        raise InputError(f"--workdir {workdir} holds no run; `smem teach` makes one")
    config = config_module.from_json(path.read_text(), defaults())
    learned = checkpoints.load_learned(workdir)
    base = pretrained.load(config.model)
    found = background.load(
        workdir / "background.npz",
        pretrained.fingerprint(base.tensors),
        retrofitted.description(config),
    )
    model = retrofitted.build(base, config)
    background.apply(found, model, config.memory.block)
    checkpoints.put(memory_layer(model, config.memory.block), learned)
    return model, base.tokenizer, config.evaluate.max_new_tokens


def ask(workdir: Path, questions: Sequence[str]) -> list[str]:
    """What the model of a finished run answers to each question."""
    for question in questions:
        if not question.strip():
            raise InputError(f"question {question!r} is empty")
    model, tokenizer, max_new_tokens = restore(workdir)
    prompts = wordings.prompts(questions, [ASK_FRAME])
    return generate.answers(model, tokenizer, prompts, max_new_tokens)
