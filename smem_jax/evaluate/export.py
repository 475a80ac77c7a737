"""A taught model as a directory that stands alone: a Hugging Face checkpoint and its memory."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from smem_jax import __version__, atomic
from smem_jax import patch as patches
from smem_jax.errors import InputError, plain
from smem_jax.models import peft, pretrained
from smem_jax.models.pretrained import export
from smem_jax.models.transformer import Transformer
from smem_jax.patch import directory, together

_SHOWN = 20  # of what it was taught, in the card
_CARD = """\
---
library_name: smem_jax
tags: [continual-learning]
---

# {name}

A base model of the Llama architecture, read from `{base}`, and what it was
taught since (smem_jax {version}).

`model.safetensors`, `config.json` and `tokenizer.json` are the base model, unchanged. Programs that
know no memory layer, such as transformers, load these alone and have the base model.
"""
_PATCHES = """
`patches/` has {rows:,} rows for a table of {slots:,} slots in block {block}, as memory patches:
{names}. With smem_jax installed:

```sh
smem ask --workdir . "..."
```

{taught}
"""
_ADAPTER = """
`adapter/` has low-rank adapters (LoRA) in the format of PEFT:

```python
base = transformers.AutoModelForCausalLM.from_pretrained(".")
model = peft.PeftModel.from_pretrained(base, "adapter")
```
"""


def write(
    given: Sequence[patches.Patch], model: str, output: Path, adapter: Path | None = None
) -> None:
    """Writes the base model of patches, with all of them, to a new directory.

    One that is made here is there as a whole or not at all; one that was there, empty, is filled.

    Args:
      model: where the base model is; '' for the place that the first patch, or else the adapter,
        names.
      adapter: a directory of PEFT, for that base model, to go with it.

    Raises InputError where `output` holds anything, for patches that do not go together or are for
    another base model, and for an adapter that does not fit.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"--output {output} must be a new or an empty directory")
    together.check(given)
    if given or adapter is None:
        together.layout(given)
        named = model or given[0].about.base
    else:
        named = model or peft.base_of(adapter)
    base = pretrained.load(named)
    if given:
        together.check_base(given[0], pretrained.fingerprint(base.tensors))
    if adapter is not None:
        adapted = Transformer.from_tensors(base.config, base.tensors)
        peft.load(adapted, adapter)
    made = contextlib.nullcontext(output) if output.exists() else atomic.new_directory(output)
    with made as partial:
        for patch in given:
            patches.save(patch, directory.place(partial, patch.about.name))
        if adapter is not None:
            peft.save(adapted, partial / peft.DIRECTORY, named)
        card = _card(given, named, adapter, patches.name_for(output))
        (partial / "README.md").write_text(card)
        export.write(base, partial)


def adapter_of(workdir: Path) -> Path | None:
    """The adapter that a run with LoRA has left in its work directory, if there is one."""
    found = workdir / peft.DIRECTORY
    return found if found.is_dir() else None


def _card(given: Sequence[patches.Patch], base: str, adapter: Path | None, name: str) -> str:
    card = _CARD.format(name=name, base=plain(base), version=__version__)
    if given:
        about = given[0].about
        card += _PATCHES.format(
            rows=sum(len(patch.slots) for patch in given),
            slots=about.num_slots,
            block=about.memory["block"],
            names=", ".join(patch.about.name for patch in given),
            taught=_taught(given),
        )
    return card if adapter is None else card + _ADAPTER


def _taught(given: Sequence[patches.Patch]) -> str:
    texts = [plain(text) for patch in given for text in patch.about.taught or ()]
    if not texts:
        return "What it was taught is not told."
    shown = [f"- {text}" for text in texts[:_SHOWN]]
    if len(texts) > _SHOWN:
        shown.append(f"- and {len(texts) - _SHOWN} more, in the metadata of the patches")
    return "\n".join(["It was taught:", "", *shown])
