"""Models with memory patches in EleutherAI's lm-evaluation-harness, as its model `smem`.

Needs the package lm_eval (the extra 'eval'). Importing this module registers the model; lm_eval
itself finds models of other packages by no other way, so its command is run by `smem lm-eval`.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from smem_jax.errors import InputError
from smem_jax.evaluate import ask, generate, patched
from smem_jax.evaluate.batching import bucketed_batches
from smem_jax.evaluate.sampling import Sampling
from smem_jax.evaluate.token_scores import Places, TokenScores
from smem_jax.models import pretrained
from smem_jax.models.transformer import Transformer

_MAX_NEW_TOKENS = 256  # where a task does not say; that of lm_eval's other models
# Of prompts that are answered together, unless `batch_size` says how many these may be.
_BATCH_TOKENS, _BATCH_ROWS = 8192, 50
_OPTIONS = ("until", "max_gen_toks", "do_sample", "temperature", "top_p", "top_k")
_NEUTRAL = {"num_beams": 1, "repetition_penalty": 1.0}  # asked for like this, they change nothing


@register_model("smem")
class PatchedLM(TemplateLM):
    """A base model with patches; the arguments are those of `--model_args`.

    Args:
      model: as for `smem ask`; the base of the patches, or SmolLM2-135M, if not given.
      workdir: of a run, or that patches were applied to.
      patch: files of patches, separated as in PATH, by colons.
      without_memory: whether all taught rows are left out.
      max_length: tokens that the model sees at most; else as many as it has positions.
      batch_size: prompts that are answered together, or 'auto'. Likelihoods come in batches of a
        fixed number of tokens.
      seed: of what is drawn at random where a task asks for that.
      max_batch_size, device: what lm_eval tells every model, and not used: JAX knows its devices.

    Raises InputError for arguments that make no sense, and as `ask.restore` does.
    """

    def __init__(
        self,
        model: str = "",
        workdir: str = "",
        patch: str = "",
        without_memory: bool = False,
        max_length: int | None = None,
        batch_size: int | str = "auto",
        seed: int = 0,
        max_batch_size: Any = None,
        device: Any = None,
        **unknown: Any,
    ):
        super().__init__()
        for name, value in unknown.items():
            raise InputError(
                f"{name}={value!r} is no argument of the model 'smem'; these are: model, workdir, "
                "patch, without_memory, max_length, batch_size, seed"
            )
        if not isinstance(without_memory, bool):
            raise InputError(f"without_memory={without_memory!r} must be true or false")
        self._batch_size = _batch_size(batch_size)
        if not isinstance(seed, int) or not 0 <= seed < 2**32:
            raise InputError(f"seed={seed!r} must be a number from 0 to {2**32 - 1}")
        self._seed = seed
        files = [Path(name) for name in str(patch).split(os.pathsep) if name]
        self._model, self.tokenizer = _load(str(model), str(workdir), files, without_memory)
        positions = self._model.config.max_positions
        self.max_length = positions if max_length is None else max_length
        if not isinstance(self.max_length, int) or not 2 <= self.max_length <= positions:
            raise InputError(
                f"max_length={max_length!r} must be a number from 2 to {positions}, the positions "
                "of the model"
            )

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return self.tokenizer.eos_id

    @property
    def prefix_token_id(self) -> int:
        """The token before a text that nothing precedes."""
        bos_id = self.tokenizer.bos_id
        return self.eot_token_id if bos_id is None else bos_id

    @property
    def tokenizer_name(self) -> str:
        """A name for the chat template, by which lm_eval keeps prompts apart."""
        return hashlib.sha256((self.tokenizer.chat_template or "").encode()).hexdigest()[:16]

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **kwargs: Any
    ) -> list[int]:
        """Token ids of a text; nothing is added at its ends, as nothing was in teaching."""
        return self.tokenizer.encode(string)

    def apply_chat_template(
        self, chat_history: Sequence[Mapping[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Messages as one prompt; without a generation prompt, the last one is to be continued."""
        prompt = self.tokenizer.apply_chat_template(chat_history, add_generation_prompt)
        if add_generation_prompt:
            return prompt
        said = chat_history[-1]["content"]
        said = said if said in prompt else said.strip()
        if said not in prompt:
            raise InputError(
                "the chat template changes the last message: it cannot be gone on with"
            )
        return prompt[: prompt.rindex(said) + len(said)]

    def _loglikelihood_tokens(
        self,
        requests: Sequence[tuple[Any, list[int], list[int]]],
        disable_tqdm: bool = False,
        **kwargs: Any,
    ) -> list[tuple[float, bool]]:
        """Log-likelihoods of continuations behind contexts, and whether each is the greedy one."""
        rows: dict[tuple[int, ...], int] = {}  # such as of single letters behind one question
        places = [np.zeros((3, 0), int)]
        for _, context, continuation in requests:
            if len(continuation) > self.max_length:
                raise InputError(
                    f"a continuation has {len(continuation)} tokens; max_length={self.max_length}"
                )
            row = tuple((context + continuation)[-self.max_length - 1 : -1])
            number = rows.setdefault(row, len(rows))
            positions = np.arange(len(row) - len(continuation), len(row))
            places.append(np.stack([np.full_like(positions, number), positions, continuation]))
        whole = Places(*np.concatenate(places, axis=1))
        scores = TokenScores([list(row) for row in rows], whole, self.tokenizer.pad_id, "lm_eval")
        scored = scores.measure(self._model)
        ends = np.cumsum([place.shape[1] for place in places])[:-1]
        nats = np.split(scored.nll, ends)[1:]
        hits = np.split(scored.likeliest == whole.target, ends)[1:]
        return [(-float(n.sum()), bool(hit.all())) for n, hit in zip(nats, hits, strict=True)]

    def loglikelihood_rolling(
        self, requests: Sequence[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Log-likelihoods of whole texts, in windows of `max_length` that each fill up anew."""
        windows: list[tuple[Any, list[int], list[int]]] = []
        owners: list[int] = []
        for number, (text,) in enumerate(request.args for request in requests):
            found = get_rolling_token_windows(
                self.tok_encode(text), self.prefix_token_id, self.max_length, context_len=1
            )
            windows += [(None, *make_disjoint_window(window)) for window in found]
            owners += [number] * (len(windows) - len(owners))
        scored = [score for score, _ in self._loglikelihood_tokens(windows)]
        return np.bincount(owners, weights=scored, minlength=len(requests)).tolist()

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """Continuations of prompts; what is too long for the model loses its beginning."""
        groups = defaultdict(list)
        for number, request in enumerate(requests):
            groups[self._wanted(request.args[1])].append(number)
        said = [""] * len(requests)
        for (stops, sampling), numbers in groups.items():
            max_new_tokens = sampling.max_new_tokens
            texts = [requests[number].args[0] for number in numbers]
            room = self.max_length - max_new_tokens
            encoded = self.tokenizer.encode_batch(texts)
            rows = [ids[-room:] or [self.prefix_token_id] for ids in encoded]
            for batch, length in bucketed_batches([len(row) for row in rows], len(rows)):
                found = generate.until(
                    self._model,
                    self.tokenizer,
                    [rows[index] for index in batch],
                    max_new_tokens,
                    stops,
                    self._batch_size or min(_BATCH_ROWS, max(1, _BATCH_TOKENS // length)),
                    sampling,
                    [numbers[index] for index in batch],
                )
                for index, text in zip(batch, found, strict=True):
                    said[numbers[index]] = text
        return said

    def _wanted(self, options: Mapping[str, Any]) -> tuple[tuple[str, ...], Sampling]:
        """Stops, and how tokens are chosen, that a request asks for."""
        wanted = normalize_gen_kwargs(dict(options), _MAX_NEW_TOKENS)
        for name, value in wanted.items():
            if name not in _OPTIONS and value != _NEUTRAL.get(name):
                raise InputError(
                    f"{name}={value!r}: the model 'smem' has no such option of generation; these "
                    f"are: {', '.join(_OPTIONS)}"
                )
        count = wanted["max_gen_toks"]
        if not 1 <= count < self.max_length:
            raise InputError(
                f"max_gen_toks={count} must be from 1 to {self.max_length - 1}, below max_length"
            )
        sampling = Sampling(seed=self._seed, max_new_tokens=count)
        if wanted["do_sample"]:
            sampling = sampling._replace(
                temperature=float(options.get("temperature", 1.0)),
                top_p=float(wanted.get("top_p", 1.0)),
                top_k=int(wanted.get("top_k", 0)),
            )
        sampling.check()
        return tuple(stop for stop in wanted["until"] if stop), sampling


def _batch_size(given: int | str) -> int | None:
    """The number of prompts in a batch; None for as many as fit into a number of tokens."""
    if str(given).startswith("auto"):
        return None
    try:
        size = int(given)
    except ValueError:
        size = 0
    if size < 1:
        raise InputError(f"batch_size={given!r} must be a number from 1 on, or 'auto'")
    return size


def _load(
    model: str, workdir: str, files: Sequence[Path], without_memory: bool
) -> tuple[Transformer, pretrained.Tokenizer]:
    if not workdir and not files:
        base = pretrained.load(model or pretrained.SMOLLM2)
        return Transformer.from_tensors(base.config, base.tensors), base.tokenizer
    taught = ask.restore(Path(workdir) if workdir else None, files, model)
    found = patched.without_memory(taught) if without_memory else taught.model
    return found, taught.tokenizer
