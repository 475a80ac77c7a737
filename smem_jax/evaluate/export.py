"""A taught model as a directory that stands alone: a Hugging Face checkpoint and its memory."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from smem_jax import __version__
from smem_jax import patch as patches
from smem_jax.errors import InputError
from smem_jax.models import pretrained
from smem_jax.models.pretrained import export
from smem_jax.patch import directory, storage

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
- `memory.safetensors`: {rows:,} rows of a table of {slots:,} slots beside block {block}, from
  {count} memory patch{plural}: {names}.

```sh
pip install smem-jax
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
    if not given:
        raise InputError("no patch is given; one at least is needed")
    about = given[0].about
    base = pretrained.load(model or about.base)
    fingerprint = pretrained.fingerprint(base.tensors)
    for patch in given:
        patches.check_fits(patch, fingerprint, about.layout_fingerprint)
    memory = _memory(given, patches.name_for(output))
    output.mkdir(parents=True, exist_ok=True)
    patches.save(memory, output / directory.LEARNED)
    (output / "README.md").write_text(_card(given, memory, about.base))
    export.write(base, output)


def _memory(given: Sequence[patches.Patch], name: str) -> patches.Patch:
    """All patches as one, exactly."""
    if len(given) == 1:
        return patches.restored(given[0], name=name)
    merged = patches.merge(given, "first", name=name).patch
    sums = patches.combined(given)
    places = np.zeros(sums.slots.max() + 1, np.int32)
    places[sums.slots] = np.arange(len(sums.slots))
    rows = sums.rows[places[merged.slots]]
    return patches.Patch(
        merged.about,
        merged.slots,
        merged.starts,
        storage.encode(rows, merged.starts, "float32"),
        merged.layout,
    )


def _card(given: Sequence[patches.Patch], memory: patches.Patch, base: str) -> str:
    texts = memory.about.taught
    shown = [f"- {text}" for text in (texts or ())[:20]]
    if texts and len(texts) > len(shown):
        shown.append(f"- and {len(texts) - len(shown)} more, in the file's metadata")
    told = ["It was taught:", "", *shown] if shown else ["What it was taught is not told."]
    return _CARD.format(
        name=memory.about.name,
        base=base,
        version=__version__,
        rows=len(memory.slots),
        slots=memory.about.num_slots,
        block=memory.about.memory["block"],
        count=len(given),
        plural="es" if len(given) > 1 else "",
        names=", ".join(patch.about.name for patch in given),
        taught="\n".join(told),
    )
