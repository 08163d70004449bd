"""The history of a table as a table: every version of every row, with the time from which and until which it stood.

It follows from the commit log, so that no change between two runs is lost: each commit on the branch that changed
the table closes the rows that went and opens those that came, at the commit's time. What the run at hand brought is
no commit of the branch yet; it stands from the run's time on, which is written down with the table and used when the
history is made anew from the whole log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import blake3
import msgspec

from gristmill.define import Node
from gristmill.errors import DefinitionError
from gristmill.model.names import quote
from gristmill.run.context import Context
from gristmill.run.derivation import Derivation, load_derivation
from gristmill.run.partials import as_computed

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.model.scan import ScanPlan
    from gristmill.model.schema import Field
    from gristmill.store import View

FROM, UNTIL = "valid_from", "valid_to"
VERSIONS = "versions"
_MADE, _WENT, _CAME = '"_gm_history"', '"_gm_history_went"', '"_gm_history_came"'


@dataclass(frozen=True, slots=True)
class Version:
    """A state of a table and the time from which it stood; no state where the table was gone."""

    state: str | None
    time_us: int


@dataclass(frozen=True, slots=True)
class Followed:
    """Which versions a history takes in.

    Args:
        through: the last commit of the branch that was looked at.
        since: the state that stored rows already tell of; None where the history is made anew.
        versions: what comes after, oldest first.
    """

    through: str
    since: str | None
    versions: tuple[Version, ...]


def history_schema(schema: pa.Schema) -> pa.Schema:
    """Return the columns of a history: the table's, and the two times."""
    import pyarrow as pa

    plain = [field.with_nullable(True) for field in schema]
    time = pa.timestamp("us", "UTC")
    return pa.schema([*plain, pa.field(FROM, time, nullable=False), pa.field(UNTIL, time)])


def check_history(node: Node, schema: pa.Schema) -> None:
    """Raise DefinitionError where the table has no such key, or columns of the names that a history adds."""
    names = set(schema.names)
    missing = [name for name in node.key if name != FROM and name not in names]
    if missing or names & {FROM, UNTIL}:
        raise DefinitionError(
            f"`{node.reads[0]}` has no column {missing[0]}" if missing else f"`{node.reads[0]}` has a column `{FROM}`",
            code="GM-P049",
            where=str(node.place),
            hint="a history needs the table's key, and adds valid_from and valid_to",
        )


def followed(ctx: Context, node: Node, view: View, *, anew: bool = False) -> Followed:
    """Return the versions of a table that its history does not tell of yet.

    Args:
        ctx: the run; its base is where the branch stood when it began.
        node: the history.
        view: the table and its history as they are now.
        anew: whether to return all versions, as if no history were stored.
    """
    name, base = node.reads[0], ctx.base or view.commit_id
    before = None if anew else _goes_on(node, view)
    since, last = (before.states[name], before.run_time_us or 0) if before is not None else (None, 0)
    commits = []
    for commit in ctx.store.log(base):
        if before is not None and commit.id == before.through:
            break
        commits.append(commit)
    else:
        if before is not None:
            return followed(ctx, node, view, anew=True)
    state, found = since, []
    for commit in reversed(commits):
        snapshot = ctx.store.snapshot(commit.id)
        now = snapshot.table(name).id if name in snapshot else None
        if now != state:
            told = load_derivation(snapshot, node.name)
            time_us = commit.time_us
            if told is not None and told.states.get(name) == now and (told.run_time_us or 0) > last:
                time_us = told.run_time_us or 0
            last = max(time_us, last + 1)
            found.append(Version(now, last))
            state = now
    now = view.table(name).id if name in view else None
    if now != state:
        found.append(Version(now, max(ctx.run_time_us, last + 1)))
    return Followed(base, since, tuple(found))


def _goes_on(node: Node, view: View) -> Derivation | None:
    """Return what the stored history was made from, where it can be gone on from."""
    before = load_derivation(view, node.name)
    if before is None or node.name not in view or not before.through or node.reads[0] not in before.states:
        return None
    return before if before.output == as_computed(view, node.name, {}) else None


def versions_digest(ctx: Context, node: Node, view: View) -> tuple[str, Followed]:
    """Return a digest of all versions, which changes with each new one, and what is new."""
    new = followed(ctx, node, view)
    before = load_derivation(view, node.name) if new.since is not None else None
    told = before.files.get(VERSIONS, "") if before is not None else ""
    if not new.versions and told:
        return told, new
    text = msgspec.json.encode([told, [version.state for version in new.versions]])
    return blake3.blake3(text).hexdigest(), new


def history_sql(ctx: Context, node: Node, view: View, *, anew: bool = False) -> str:
    """Make the history on the kernel and return the SELECT of its rows.

    Args:
        ctx: the run.
        node: the history.
        view: the table, and its history so far.
        anew: whether to make it from the whole log.
    """
    from gristmill.model.arrow import fields_to_arrow
    from gristmill.store import compute

    connection, name = ctx.kernel.connection, node.reads[0]
    fields = view.scan(name).fields
    new = followed(ctx, node, view, anew=anew)
    empty = history_schema(fields_to_arrow(fields)).empty_table()
    connection.register("_gm_history_empty", empty)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {_MADE} AS SELECT * FROM _gm_history_empty")
    connection.unregister("_gm_history_empty")
    if new.since is not None:
        compute.register(connection, "_gm_history_told", view.scan(node.name))
        stored = {field.name for field in view.scan(node.name).fields}
        names = [f.name if f.name in stored else None for f in fields]
        columns = ", ".join(quote(n) if n else "NULL" for n in names)
        connection.execute(f"INSERT INTO {_MADE} SELECT {columns}, {FROM}, {UNTIL} FROM _gm_history_told")
    state = new.since
    for version in new.versions:
        delta = view.delta_between(name, state, version.state)
        _take(ctx, fields, version.time_us, delta.before, delta.after)
        state = version.state
    return f"SELECT * FROM {_MADE}"


def _take(ctx: Context, fields: Sequence[Field], time_us: int, before: ScanPlan | None, after: ScanPlan | None) -> None:
    """Close the rows that a change took away, and open those that it brought."""
    connection = ctx.kernel.connection
    went, came = (_rows(ctx, fields, image, f"_gm_history_{side}") for side, image in (("b", before), ("a", after)))
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {_WENT} AS ({went}) EXCEPT ALL ({came})")
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {_CAME} AS ({came}) EXCEPT ALL ({went})")
    time = f"make_timestamptz({time_us})"
    same = " AND ".join(f"h.{quote(f.name)} IS NOT DISTINCT FROM w.{quote(f.name)}" for f in fields)
    connection.execute(f"UPDATE {_MADE} AS h SET {UNTIL} = {time} FROM {_WENT} AS w WHERE h.{UNTIL} IS NULL AND {same}")
    connection.execute(f"INSERT INTO {_MADE} SELECT *, {time}, NULL FROM {_CAME}")


def _rows(ctx: Context, fields: Sequence[Field], image: ScanPlan | None, known: str) -> str:
    """Return the rows of an image in the table's columns of now; a column that they had not is null."""
    from gristmill.store import compute
    from gristmill.store.sqltext import type_sql

    there = {field.name for field in image.fields} if image is not None and image.files else set()
    columns = ", ".join(
        f"CAST({quote(f.name) if f.name in there else 'NULL'} AS {type_sql(f.type)}) AS {quote(f.name)}" for f in fields
    )
    if image is None or not image.files:
        return f"SELECT {columns} LIMIT 0"
    compute.register(ctx.kernel.connection, known, image)
    return f"SELECT {columns} FROM {quote(known)}"
