"""Turn a definition into an Ibis expression over named inputs, with errors that point at the user's line."""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gristmill.define.nodes import Node
from gristmill.errors import DefinitionError, GristmillError, did_you_mean

if TYPE_CHECKING:
    import ibis
    import pyarrow as pa


def expression(
    node: Node, schemas: Mapping[str, pa.Schema], *, parameters: Mapping[str, object], root: Path
) -> ibis.Table:
    """Call a table definition on its inputs and return the expression it makes.

    Args:
        node: a node of kind ``table``.
        schemas: the schema of every input by name.
        parameters: values of the keyword parameters.
        root: the project's folder, to shorten paths in messages.

    Raises DefinitionError with file and line where the function fails or returns something else.
    """
    import ibis

    from gristmill.algebra import input_table

    assert node.function is not None
    tables = [input_table(name, schemas[name]) for name in node.reads]
    try:
        result = node.function(*tables, **parameters)
    except GristmillError as error:
        error.where = error.where or _user_line(error, root) or str(node.place)
        raise
    except Exception as error:
        raise DefinitionError(
            f"`{node.name}` cannot be built: {type(error).__name__}: {_first_line(error)}",
            code="GM-P012",
            where=_user_line(error, root) or str(node.place),
            hint=_column_hint(error, schemas, node),
        ) from error
    if not isinstance(result, ibis.Table):
        raise DefinitionError(
            f"`{node.name}` returned {type(result).__name__}, not an Ibis table",
            code="GM-P013",
            where=str(node.place),
            hint="return a table expression; use @project.step for Arrow, Polars or pandas",
        )
    missing = [column for column in node.key if column not in result.columns]
    if missing:
        raise DefinitionError(
            f"`{node.name}` has the key {', '.join(node.key)}, but makes no column {', '.join(missing)}",
            code="GM-P014",
            where=str(node.place),
            hint=did_you_mean(missing[0], list(result.columns)),
        )
    return result


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else ""


def _user_line(error: BaseException, root: Path) -> str | None:
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if root.resolve() in file.resolve().parents:
            return f"{file.resolve().relative_to(root.resolve()).as_posix()}:{frame.lineno}"
    return None


def _column_hint(error: BaseException, schemas: Mapping[str, pa.Schema], node: Node) -> str | None:
    known = [column for name in node.reads for column in schemas[name].names]
    for word in re.findall(r"['\"`](\w+)['\"`]", str(error)):
        hint = did_you_mean(word, known)
        if word not in known and hint:
            return hint
    return "; ".join(f"{name}: {_columns(schemas[name])}" for name in node.reads[:3]) or None


def _columns(schema: pa.Schema, most: int = 12) -> str:
    shown = ", ".join(f"{field.name} {field.type}" for field in list(schema)[:most])
    return shown + (", ..." if len(schema) > most else "")
