"""A taught model as a directory that stands alone: a Hugging Face checkpoint and its memory."""

from collections.abc import Sequence
from pathlib import Path

from smem_jax import __version__
from smem_jax import patch as patches
from smem_jax.errors import InputError, plain
from smem_jax.models import pretrained
from smem_jax.models.pretrained import export
from smem_jax.patch import directory, together

_SHOWN = 20  # of what it was taught, in the card
_CARD = """\
---
library_name: smem_jax
tags: [continual-learning, memory-layers]
---

# {name}

A base model of the Llama architecture, read from `{base}`, and what it was
taught since, in a memory layer (smem_jax {version}).

- `model.safetensors`, `config.json`, `tokenizer.json`: the base model, unchanged. Programs that
  know no memory layer, such as transformers, load these alone and have the base model.
- `patches/`: {rows:,} rows for a table of {slots:,} slots in block {block}, as memory patches:
  {names}.

With smem_jax installed:

```sh
smem ask --workdir . "..."
```

{taught}
"""


def write(given: Sequence[patches.Patch], model: str, output: Path) -> None:
    """Writes the base model of patches, with all of them, to a new directory.

    Args:
      model: where the base model is; '' for the place that the first patch names.

    Raises InputError where `output` holds anything, and for patches that do not go together or are
    for another base model.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"--output {output} must be a new or an empty directory")
    together.check(given)
    together.layout(given)
    base = pretrained.load(model or given[0].about.base)
    together.check_base(given[0], pretrained.fingerprint(base.tensors))
    output.mkdir(parents=True, exist_ok=True)
    for patch in given:
        patches.save(patch, directory.place(output, patch.about.name))
    (output / "README.md").write_text(_card(given, patches.name_for(output)))
    export.write(base, output)


def _card(given: Sequence[patches.Patch], name: str) -> str:
    texts = [plain(text) for patch in given for text in patch.about.taught or ()]
    shown = [f"- {text}" for text in texts[:_SHOWN]]
    if len(texts) > _SHOWN:
        shown.append(f"- and {len(texts) - _SHOWN} more, in the metadata of the patches")
    about = given[0].about
    told = ["It was taught:", "", *shown] if shown else ["What it was taught is not told."]
    return _CARD.format(
        name=name,
        base=plain(about.base),
        version=__version__,
        rows=sum(len(patch.slots) for patch in given),
        slots=about.num_slots,
        block=about.memory["block"],
        names=", ".join(patch.about.name for patch in given),
        taught="\n".join(told),
    )
