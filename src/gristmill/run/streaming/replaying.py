"""Kappa: build what follows from streams again on a branch, show how it differs, and swap it in with one commit.

From the commits: the rows that streams have landed are in the store, which keeps them longer than any broker, so every
table that follows from them is computed again from all of them. From the sources: the streams' own tables are emptied
on the branch, and everything that the sources still hold is streamed into them.

The branch stays until it is swapped in; whoever comes again goes on where it was left. What others commit meanwhile is
taken over before the swap, which is one compare-and-swap: it holds everything, or it is tried again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from gristmill.contracts.history import history_path
from gristmill.contracts.quarantine import table_name as quarantine_table
from gristmill.define import Node
from gristmill.errors import NotFound, Stale, UsageError
from gristmill.model.predicates import Always
from gristmill.run.comparing import Difference, compare
from gristmill.run.context import Context
from gristmill.run.derivation import document_path
from gristmill.run.landing import shape_path
from gristmill.run.partials import stored_partials
from gristmill.run.rules import checks_path, contract_path
from gristmill.run.stage import Progress, bring_up
from gristmill.run.streaming.deciding import deleted_table
from gristmill.run.streaming.loop import Flow, refusal, stream, streamed
from gristmill.run.streaming.state import load_state, put_state, state_path
from gristmill.run.witnesses import witnesses_path
from gristmill.store.objects import Oid

if TYPE_CHECKING:
    from gristmill.store import Snapshot, Transaction, View

_KIND = "replay"
_TRIES = 20
_ROWS, _BYTES = 1_000_000, 512 * 2**20


class _State(msgspec.Struct, frozen=True, kw_only=True):
    """How far a replay is, beside the history: what it rebuilds, from where, and which tables are done."""

    tables: tuple[str, ...]
    sources: bool
    done: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What a replay is asked for.

    Args:
        on: the branch whose tables are built again.
        select: tables to build again, with what they need; empty means everything that follows from a stream.
        sources: whether to read the sources again, from the earliest that they hold, rather than the stored rows.
        swap: whether to swap the result in.
    """

    on: str
    select: Sequence[str] = ()
    sources: bool = False
    swap: bool = False


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay gave.

    Args:
        branch: where the result waits; gone where it was swapped in.
        on: the branch it is for.
        base: the commit of ``on`` that it was compared with.
        tables: how each table differs from that of ``on``; ``stored`` is what is there, ``computed`` what was built.
        commit: the commit that swapped it in; empty where nothing was, or nothing had to be.
        swapped: whether ``on`` holds the result now.
    """

    branch: str
    on: str
    base: str
    tables: dict[str, Difference]
    commit: str = ""
    swapped: bool = False

    @property
    def equal(self) -> bool:
        """Whether every table holds the same rows as before, bit for bit."""
        return all(found.equal for found in self.tables.values())


def replay_branch(on: str) -> str:
    """Return the branch that a replay of another works on."""
    return f"replay/{on}"


def replay(ctx: Context, asked: Replay) -> Replayed:
    """Build what follows from streams again, compare, and swap it in where that is wanted.

    Raises:
        CheckFailed: a check said no; the branch stays, and the one it is for is unchanged.
        NotFound: there is no such branch.
        UsageError: the project has no stream.
    """
    store = ctx.store
    if asked.on not in store.branches():
        raise NotFound(f"there is no branch `{asked.on}`", code="GM-S012")
    sources, tables = streamed(ctx, asked.select)
    if not sources:
        raise UsageError("nothing here is a stream", code="GM-U132", hint="gm.tail(...), gm.kafka(...) make one")
    work = _Work(ctx, asked, sources, tables)
    work.begin()
    for _ in range(_TRIES):
        base = store.resolve(asked.on)
        work.build(base)
        found = Replayed(work.branch, asked.on, base, work.differences(base))
        if not asked.swap:
            return found
        try:
            return replace(found, commit=work.swap(base), swapped=True)
        except Stale:
            continue
    raise Stale(f"`{asked.on}` kept moving", where=asked.on, hint="pause the stream: gristmill stream --pause")


class _Work:
    """A replay at work on its branch."""

    def __init__(self, ctx: Context, asked: Replay, sources: Sequence[Node], tables: Sequence[Node]) -> None:
        self.ctx, self.asked, self.sources, self.tables = ctx, asked, sources, tables
        self.branch = replay_branch(asked.on)
        self.state = _State(tables=tuple(node.name for node in tables), sources=asked.sources)

    def begin(self) -> None:
        """Go on with the branch that is there, or make one; what was begun for something else is left behind."""
        store = self.ctx.store
        kept = store.records.get(_KIND, self.branch)
        found = msgspec.json.decode(kept, type=_State) if kept is not None else None
        same = found is not None and (found.tables, found.sources) == (self.state.tables, self.state.sources)
        if self.branch in store.branches() and found is not None and same:
            self.state = found
            return
        if self.branch in store.branches():
            store.delete_branch(self.branch)
        store.records.delete(_KIND, self.branch)
        store.create_branch(self.branch, at=self.asked.on)
        if self.asked.sources:
            with store.begin(self.branch, message="replay: empty what the sources bring") as tx:
                for node in self.sources:
                    _empty(tx, node)
        self._note(self.state)

    def build(self, base: str) -> None:
        """Bring the branch to what the tables should be, given everything else as it is at ``base``."""
        store = self.ctx.store
        if self.asked.sources:
            flow = Flow(
                on=self.branch,
                select=self.asked.select,
                until_end=True,
                max_rows=_ROWS,
                max_bytes=_BYTES,
                sinks=False,
            )
            stream(self.ctx, flow)
            self._note(msgspec.structs.replace(self.state, done=self.state.tables))
        self._take_over(base)
        for node in self.tables:
            with store.begin(self.branch, message=f"replay: {node.name}") as tx:
                progress = Progress()
                bring_up(self.ctx, tx, node, "replay", progress, anew=node.name not in self.state.done)
                refused = [finding for finding in progress.findings if finding.blocks]
                if refused:
                    raise refusal(refused, self.asked.on, base, branch=self.branch)
            if node.name not in self.state.done:
                self._note(msgspec.structs.replace(self.state, done=(*self.state.done, node.name)))

    def _note(self, state: _State) -> None:
        self.state = state
        self.ctx.store.records.put(_KIND, self.branch, msgspec.json.encode(state))

    def _mine(self, view: View) -> tuple[list[str], list[str], list[str]]:
        """Return the tables, documents and sources that are the branch's own, not taken over."""
        names = list(self.state.done)
        tables = [table for name in names for table in (name, *stored_partials(view, name), quarantine_table(name))]
        documents = [
            path
            for name in names
            for path in (document_path(name), history_path(name), checks_path(name), witnesses_path(name))
        ]
        documents += [contract_path(name) for name in names]
        if not self.asked.sources:
            return tables, documents, []
        for node in self.sources:
            tables += _tables_of(node)
            documents += [state_path(node.name), shape_path(node.name), checks_path(node.name)]
        return tables, documents, [node.name for node in self.sources]

    def _take_over(self, base: str) -> None:
        """Make the branch hold what ``base`` holds, but for what was built on it."""
        store = self.ctx.store
        mine = store.snapshot(self.branch)
        tables, documents, sources = self._mine(mine)
        with store.begin(self.branch, message=f"replay: take over {base[:7]}") as tx:
            tx.tree = store.tree_of(Oid(bytes.fromhex(base)))
            gone = [table for name in self.state.done for table in stored_partials(tx, name)]
            wanted = [name for name in (*tables, *gone) if name in mine or name in tx]
            tx.put_entries("tables", {name: _id(mine, name) for name in wanted})
            for path in documents:
                content = mine.document(path)
                if content is not None:
                    tx.put_document(path, content)
                elif tx.document(path) is not None:
                    tx.drop_document(path)
            for name in sources:
                tx.put_units(name, mine.units(name))
            tx.whole |= {*tx.tables(system=True), *mine.tables(system=True)}

    def differences(self, base: str) -> dict[str, Difference]:
        """Compare every table that was built with the one at ``base``."""
        before, after = (self.ctx.store.snapshot(ref) for ref in (base, self.branch))
        names = [node.name for node in self.tables]
        if self.asked.sources:
            names = [node.name for node in self.sources] + names
        return {name: self._difference(before, after, name) for name in names if name in after}

    def _difference(self, before: Snapshot, after: Snapshot, name: str) -> Difference:
        from gristmill.store import compute

        table = after.table(name)
        fields = [field for field in table.schema.fields if not field.name.startswith("_origin_")]
        connection = self.ctx.kernel.connection
        compute.register(connection, "_gristmill_built", after.scan(name))
        built = "SELECT * FROM _gristmill_built"
        stored = f"{built} LIMIT 0"
        if name in before and before.table(name).schema == table.schema:
            compute.register(connection, "_gristmill_live", before.scan(name))
            stored = "SELECT * FROM _gristmill_live"
        return compare(connection, stored, built, fields, table.key)

    def swap(self, base: str) -> str:
        """Make the branch's content one commit on the branch that it is for. Raises Stale where that has moved."""
        store, on = self.ctx.store, self.asked.on
        head = store.publish(
            self.branch, into=on, base=base, message=f"replay: {len(self.tables)} tables", meta={"replay": "1"}
        )
        store.delete_branch(self.branch)
        store.records.delete(_KIND, self.branch)
        return head


def _tables_of(node: Node) -> list[str]:
    found = [node.name, quarantine_table(node.name), deleted_table(node.name)]
    return [*found, node.late.table] if node.late.policy == "side" else found


def _empty(tx: Transaction, node: Node) -> None:
    """Let a stream's tables be as before its first row; the number of its writer stays."""
    for name in _tables_of(node):
        if name in tx:
            tx.delete(name, Always())
    tx.put_units(node.name, {})
    put_state(tx, node.name, msgspec.structs.replace(load_state(tx, node.name), watermark_us=None, idle=()))


def _id(view: View, name: str) -> bytes | None:
    return bytes.fromhex(view.table(name).id) if name in view else None
