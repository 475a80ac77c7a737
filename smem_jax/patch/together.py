"""Which patches may be on one model together."""

from collections.abc import Sequence

from smem_jax.errors import InputError
from smem_jax.memory.relevance import Relevance
from smem_jax.patch.patch import Layout, Patch


def check_base(patch: Patch, fingerprint: str) -> None:
    """Raises InputError for a patch of another base model than that of a fingerprint."""
    about = patch.about
    if about.base_fingerprint != fingerprint:
        raise InputError(
            f"patch {about.name!r} is for the base model {about.base_fingerprint[:12]} "
            f"({about.base}); this one is {fingerprint[:12]}"
        )


def check(given: Sequence[Patch]) -> None:
    """Raises InputError unless patches may be on one model.

    They need one base model, one memory layer with the same queries and sub-keys, rows of one
    width, one gate where they have any, and names and contents of their own.
    """
    names: dict[str, str] = {}
    for patch in given:
        first, about = given[0].about, patch.about
        check_base(patch, first.base_fingerprint)
        if about.layout_fingerprint != first.layout_fingerprint:
            raise InputError(
                f"patch {about.name!r} has other queries and sub-keys "
                f"({about.layout_fingerprint[:12]}) than {first.name!r} "
                f"({first.layout_fingerprint[:12]}); patches that are to go together have to be "
                "taught with the same background.file, or one on top of the other"
            )
        if dict(about.memory) != dict(first.memory):
            raise InputError(
                f"patch {about.name!r} is for the memory layer {dict(about.memory)}, "
                f"{first.name!r} for {dict(first.memory)}"
            )
        if patch.rows.shape()[1] != given[0].rows.shape()[1]:
            raise InputError(
                f"patch {about.name!r} has rows of width {patch.rows.shape()[1]}, "
                f"{first.name!r} of {given[0].rows.shape()[1]}"
            )
        for name, identity in names.items():
            if identity == patch.identity:
                raise InputError(f"patch {about.name!r} is given twice, also as {name!r}")
            if name == about.name:
                raise InputError(
                    f"two different patches are named {name!r}; `smem patch save` gives one "
                    "another name"
                )
        names[about.name] = patch.identity
    relevance(given)


def relevance(given: Sequence[Patch]) -> Relevance | None:
    """The gate of patches, None where none has one; InputError where they have two."""
    gated = [patch for patch in given if patch.about.relevance is not None]
    for patch in gated[1:]:
        if patch.about.relevance != gated[0].about.relevance:
            raise InputError(
                f"patch {patch.about.name!r} has the relevance gate {patch.about.relevance}, "
                f"{gated[0].about.name!r} has {gated[0].about.relevance}"
            )
    return gated[0].about.relevance if gated else None


def layout(given: Sequence[Patch]) -> Layout:
    """The queries and sub-keys of patches; InputError where none has them with it."""
    for patch in given:
        if patch.layout is not None:
            return patch.layout
    names = ", ".join(patch.about.name for patch in given)
    raise InputError(
        f"no patch with queries and sub-keys is given; saved without them: {names or 'none'}"
    )
