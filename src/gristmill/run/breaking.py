"""What a change of a table's columns breaks below it: who read what is gone, by what each table was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gristmill.define import Node
from gristmill.errors import DefinitionError
from gristmill.run.derivation import load_derivation

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.store import View


def lost_columns(view: View, node: Node, schemas: Mapping[str, pa.Schema | None]) -> list[tuple[str, str]]:
    """Return the columns that a table was made from and that will be gone, each as input and column.

    Args:
        view: the table as it was made.
        node: the table.
        schemas: the columns that its inputs will have.
    """
    before = load_derivation(view, node.name)
    if before is None:
        return []
    return [
        (name, column)
        for name, columns in before.inputs.items()
        if (schema := schemas.get(name)) is not None
        for column in columns
        if column not in schema.names
    ]


def told_of(error: DefinitionError, gone: Sequence[tuple[str, str]]) -> DefinitionError:
    """Return the error of a definition that does not compile, saying which columns a change takes away from it."""
    if gone:
        words = ", ".join(f"`{column}` of {name}" for name, column in gone)
        error.hint = f"it was made from {words}, which the definitions above no longer give" + (
            f"; {error.hint}" if error.hint else ""
        )
    return error
