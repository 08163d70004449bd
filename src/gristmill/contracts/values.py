"""A contract as frozen values: what it says of each table, compiled to rules."""

from __future__ import annotations

from typing import Literal

import msgspec

from gristmill.errors import DefinitionError, did_you_mean
from gristmill.model.rules import Rule


class ColumnContract(msgspec.Struct, frozen=True, kw_only=True):
    """What a contract says of one column besides its rules."""

    name: str
    type: str = ""
    required: bool = False
    description: str = ""
    classification: str = ""


class TableContract(msgspec.Struct, frozen=True, kw_only=True):
    """What a contract says of one table.

    Args:
        name: the object's name in the contract.
        physical_name: what it is called where it is stored, or empty.
        identifier: its stable id, or empty.
        description: in the author's words.
        columns: its columns, in order; fields of structs as ``address.city``.
        key: columns of the primary key, in their order.
        rules: what must hold.
        max_quarantine: the largest share of rows that may be set aside; None means the project's.
        notes: what the contract says that is not checked here, and why.
    """

    name: str
    physical_name: str = ""
    identifier: str = ""
    description: str = ""
    columns: tuple[ColumnContract, ...] = ()
    key: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    max_quarantine: float | None = None
    notes: tuple[str, ...] = ()

    def named(self, table: str) -> bool:
        """Whether this describes a table of that name, its dotted prefix apart."""
        wanted = {table.lower(), table.lower().rsplit(".", 1)[-1]}
        return bool({self.name.lower(), self.physical_name.lower()} & wanted)


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """An Open Data Contract Standard document.

    Args:
        file: its path as given.
        standard: version of the standard, such as ``3.1.0``.
        id: the contract's id.
        name: its name, or its id.
        version: its own version.
        status: active, draft ...; empty where it does not say.
        owner: who answers for it, or empty.
        tables: one per object of its schema.
        promises: service levels, such as ``retention 3 y``, in words.
        notes: what is odd about the document, without being wrong.
    """

    file: str
    standard: str
    id: str
    name: str
    version: str
    status: Literal["", "proposed", "draft", "active", "deprecated", "retired"] | str = ""
    owner: str = ""
    tables: tuple[TableContract, ...] = ()
    promises: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def table(self, name: str) -> TableContract:
        """Return what the contract says of a table: of its name, or of its last part, or the only one there is.

        Raises DefinitionError where it is none of these.
        """
        exact = [table for table in self.tables if name.lower() in (table.name.lower(), table.physical_name.lower())]
        found = exact or [table for table in self.tables if table.named(name)]
        if not found and len(self.tables) == 1:
            found = list(self.tables)
        if not found:
            known = [table.name for table in self.tables]
            raise DefinitionError(
                f"the contract says nothing of `{name}`",
                code="GM-C022",
                where=self.file,
                hint=did_you_mean(name, known) or f"it describes {', '.join(known) or 'no table'}",
            )
        return found[0]
