"""How a value table and the batch that reads it lie on the axes of a device mesh."""

from typing import NamedTuple


class TableLayout(NamedTuple):
    """The mesh axes that split a batch, and the rows and the columns of a value table."""

    batch: tuple[str, ...] = ()
    slots: tuple[str, ...] = ()
    value: tuple[str, ...] = ()
