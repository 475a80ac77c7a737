"""What is measured again and again as a model is taught: little enough to be quick."""

from collections.abc import Sequence

from smem_jax.evaluate.measure import Probe
from smem_jax.evaluate.nll import text_nll
from smem_jax.evaluate.recall import Prompts
from smem_jax.models.pretrained import Tokenizer
from smem_jax.models.transformer import Transformer

_MOST_PROMPTS = 64
_TEXT_CHARACTERS = 6144  # some 1,500 tokens


class Along:
    """Recall of taught facts in wordings that are not taught, and the likelihood of other text.

    Args:
      asked: as `evaluate.measure.probes` makes them. The reworded ones are asked; of more than 64,
        64 at even distances.
      text: as for `evaluate.measure`; its first 6,144 characters are read.
    """

    def __init__(self, tokenizer: Tokenizer, asked: Sequence[Probe], text: Sequence[str]):
        reworded = [probe for probe in asked if probe.kind == "reworded"]
        count = min(len(reworded), _MOST_PROMPTS)
        reworded = [reworded[n * len(reworded) // count] for n in range(count)]
        self._tokenizer = tokenizer
        self._prompts = Prompts(
            tokenizer, [p.prompt for p in reworded], [p.fact.answer for p in reworded], "recall"
        )
        beginning = "\n".join(text)[:_TEXT_CHARACTERS]
        self._text = beginning.split("\n") if beginning else []

    def __bool__(self) -> bool:
        """Whether there is anything to measure."""
        return bool(len(self._prompts) or self._text)

    def __call__(self, model: Transformer) -> dict[str, float]:
        """`recall`, the share of wordings that the taught answer follows, token by token and to its
        end; `text_nll`, nats per token. What there is nothing for is left out.
        """
        found = {}
        if len(self._prompts):
            found["recall"] = float(self._prompts.measure(model).right.mean())
        if self._text:
            found["text_nll"] = text_nll(model, self._tokenizer, self._text).mean
        return found
