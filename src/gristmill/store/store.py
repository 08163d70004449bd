"""The store: opening it, its refs, and the doors to reading and writing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gristmill.errors import Conflict, NotFound, Stale, StoreError, UsageError, did_you_mean
from gristmill.model.commits import Commit
from gristmill.model.guard import Guard
from gristmill.model.names import check_branch_name
from gristmill.store import history, landing
from gristmill.store.catalog import FORMAT, Catalog
from gristmill.store.committing import PATIENCE, default_author, set_ref
from gristmill.store.counters import Counters
from gristmill.store.datafiles import Output
from gristmill.store.files import checkout
from gristmill.store.locks import branch_lock, locked
from gristmill.store.objects import CommitObject, Oid, Tree
from gristmill.store.places import FOLDERS, clone_offset, identity
from gristmill.store.records import Records
from gristmill.store.snapshot import Snapshot
from gristmill.store.transaction import Transaction
from gristmill.store.view import FilesState

if TYPE_CHECKING:
    from gristmill.store.diffs import StoreDiff
    from gristmill.store.doctor import Diagnosis
    from gristmill.store.maintenance import Maintained

Durability = Literal["full", "none"]
Compact = Literal["auto", "off"]
MAIN = "main"
TRIES = 50


class Store:
    """An open store; safe to use from several threads and after a fork. Made by `open_store`.

    Attributes:
        path: its folder.
        id: names the store for ever.
        records: small records beside the history.
    """

    def __init__(self, path: Path, *, durability: Durability, compact: Compact) -> None:
        self.path = path
        self.compact = compact
        durable = durability == "full"
        self.catalog = Catalog(path, durable=durable)
        self.counters = Counters(self.catalog)
        self.output = Output(path, durable=durable)
        self.records = Records(self.catalog)
        meta: dict[str, Any] = dict(self.catalog.rows("select key, value from meta"))
        if int(meta["format"]) > FORMAT:
            raise StoreError(
                f"the store has format {meta['format']}, and this version reads up to {FORMAT}",
                code="GM-S013",
                where=str(path),
                hint="install a newer gristmill",
            )
        self.id = str(meta["store"])
        if not self.catalog.read_only and meta.get("place") != identity(path):
            self._settle("place" in meta)

    def _settle(self, copied: bool) -> None:
        """Note where the store lies; one that finds itself copied takes row ids of its own from now on."""
        for name in FOLDERS:
            (self.path / name).mkdir(exist_ok=True)
        with self.catalog.write(lasting=False) as db:
            db.execute("insert or replace into meta values('place', ?)", (identity(self.path),))
            if copied:
                db.execute("update counters set next = next + ? where name = 'row'", (clone_offset(),))

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *rest: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection of this thread."""
        self.catalog.close()

    # -- commits ------------------------------------------------------------------------------------

    def head(self, branch: str) -> Oid | None:
        """Return the commit a branch points at, or None if there is no such branch."""
        return self.ref("branch", branch)

    def ref(self, kind: str, name: str) -> Oid | None:
        """Return what a ref points at, or None."""
        row = self.catalog.one("select target from refs where kind = ? and name = ?", (kind, name))
        return None if row is None else bytes(row[0])

    def resolve(self, ref: str) -> str:
        """Return the full id of the commit an address means; see `gristmill.model.refs`. Raises NotFound."""
        return history.resolve(self, ref).hex()

    def commit_object(self, oid: Oid) -> CommitObject:
        """Return a stored commit."""
        value = self.catalog.get(oid)
        assert isinstance(value, CommitObject), oid.hex()
        return value

    def commit_value(self, oid: Oid) -> Commit:
        """Return a commit as a reader sees it."""
        value = self.commit_object(oid)
        return Commit(
            id=oid.hex(),
            parents=tuple(parent.hex() for parent in value.parents),
            tree=value.tree.hex(),
            time_us=value.time_us,
            author=value.author,
            message=value.message,
            meta=dict(value.meta),
        )

    def commit_of(self, ref: str) -> Commit:
        """Return the commit an address means."""
        return self.commit_value(history.resolve(self, ref))

    def tree_of(self, oid: Oid) -> Tree:
        """Return the state of everything at a commit."""
        value = self.catalog.get(self.commit_object(oid).tree)
        assert isinstance(value, Tree)
        return value

    def snapshot(self, ref: str = MAIN) -> Snapshot:
        """Return the state at an address; it stays as it is when branches move."""
        oid = history.resolve(self, ref)
        return Snapshot(self, self.tree_of(oid), self.commit_value(oid))

    def log(self, ref: str = MAIN, *, table: str | None = None, limit: int | None = None) -> Iterator[Commit]:
        """Yield the commits of an address and its first parents, newest first; only those that changed ``table``."""
        return history.log(self, ref, table=table, limit=limit)

    # -- writing ------------------------------------------------------------------------------------

    def begin(
        self,
        branch: str = MAIN,
        *,
        message: str = "",
        author: str | None = None,
        meta: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        at: str | None = None,
    ) -> Transaction:
        """Begin a transaction on a branch; see `gristmill.store.transaction.Transaction`.

        Args:
            branch: the branch, which must exist.
            message: why.
            author: who; by default ``GRISTMILL_AUTHOR`` or the account.
            meta: kept with the commit.
            idempotency_key: a repeated request with this key returns the first outcome.
            at: the commit it reads at, one of the branch's past; its head if None.
        """
        head = self.head(branch)
        if head is None:
            raise self._no_ref("branch", branch)
        if at is not None:
            head = history.resolve(self, at)
        return Transaction(
            self,
            branch,
            head,
            self.tree_of(head),
            message=message,
            author=author,
            meta=meta,
            idempotency_key=idempotency_key,
        )

    def retry(
        self,
        branch: str,
        change: Callable[[Transaction], object],
        *,
        message: str = "",
        guard: Guard | None = None,
        meta: Mapping[str, str] | None = None,
    ) -> str:
        """Run ``change(tx)`` and commit, again on a fresh snapshot for as long as it is stale; returns the commit.

        After three failures it holds the branch while it works, so that it gets through.
        """
        for attempt in range(TRIES):
            with ExitStack() as held:
                if attempt >= PATIENCE:
                    held.enter_context(locked(branch_lock(self.path, branch)))
                tx = self.begin(branch, message=message, meta=meta)
                tx.owns_branch = attempt >= PATIENCE
                try:
                    change(tx)
                    return tx.commit(guard=guard)
                except BaseException as error:
                    tx.discard()
                    if not isinstance(error, Stale) or attempt == TRIES - 1:
                        raise
        raise AssertionError

    def new_units(self, source: str, count: int) -> int:
        """Return the first of ``count`` unit numbers of a source that no branch has had or will get."""
        return 1 + self.counters.take(f"source:{source}", "unit", count)

    def publish(
        self,
        source_branch: str,
        *,
        into: str,
        base: str,
        message: str,
        meta: Mapping[str, str] | None = None,
        guard: Guard | None = None,
        merged: str | None = None,
    ) -> str:
        """Make ``into`` hold what a branch holds, as one commit on its head, and return it.

        The commit's only parent is the head of ``into``: what the source branch committed on the way is not part of
        the history, and goes when that branch does. Its last commit's id is kept as ``published_from`` in ``meta``.

        Args:
            source_branch: whose content it is.
            into: the branch to move; where there is none it is made, in the same step, as one that begins at ``base``.
            base: the commit of ``into`` that the source branch was made from. What others changed in ``into``
                since then is kept where the source branch did not touch it.
            message: why.
            meta: kept with the commit.
            guard: looks at the result before the branch moves.
            merged: a commit whose changes the source branch has taken in, to be the second parent.

        Raises:
            Stale: both sides touched the same table, unit or document; names them.
        """
        return landing.publish(
            self, source_branch, into=into, base=base, message=message, meta=meta, guard=guard, merged=merged
        )

    def merge(self, source: str, *, into: str, message: str | None = None, guard: Guard | None = None) -> str:
        """Bring what ``source`` changed since it parted from ``into`` into it; returns the commit.

        Raises:
            Conflict: both sides changed the same thing; nothing was changed.
        """
        return landing.merge(self, source, into=into, message=message, guard=guard)

    def revert(
        self,
        commit_ref: str,
        *,
        on: str = MAIN,
        message: str | None = None,
        meta: Mapping[str, str] | None = None,
    ) -> str:
        """Undo one commit on a branch, by a new commit, and return it.

        Tables that were not changed since get back the state they had before, ids and all; of others its rows are
        undone. What is computed and has been computed again since stays until the next run: the commit's ``left`` in
        ``meta`` names it. Units that the commit landed become held, so that the next run does not land them again.

        Raises:
            Conflict: something the commit changed has been changed again since.
        """
        return landing.revert(self, commit_ref, on=on, message=message, meta=meta)

    def restore(self, ref: str, *, on: str = MAIN, tables: list[str] | None = None) -> str:
        """Make a branch hold what it held at ``ref`` (only these tables, if given), by a new commit; returns it."""
        return landing.restore(self, ref, on=on, tables=tables)

    def cherry_pick(self, ref: str, *, on: str = MAIN) -> str:
        """Make the change of one commit on another branch, by a new commit, and return it."""
        return landing.cherry_pick(self, ref, on=on)

    def diff(self, a: str, b: str) -> StoreDiff:
        """Return what changed from one address to another."""
        from gristmill.store.diffs import store_diff

        return store_diff(self, history.resolve(self, a), history.resolve(self, b))

    def checkout(self, files: FilesState, folder: Path, *, link: bool = False) -> None:
        """Write a tree of files into a folder; with ``link`` as read-only hard links where nothing else is cheap."""
        checkout(self.path, files, Path(folder), link=link)

    def maintain(
        self,
        *,
        branches: Sequence[str] | None = None,
        tables: Sequence[str] | None = None,
        grace_s: float = 86_400.0,
    ) -> Maintained:
        """Make few full files of many small or half-dead ones, and collect garbage.

        Content, row ids and tokens stay; writers may go on meanwhile. Each table that was tidied is a commit.

        Args:
            branches: which ones; all if None.
            tables: which ones; all if None.
            grace_s: how long, in seconds, what nothing leads to is kept.
        """
        from gristmill.store.maintenance import maintain

        return maintain(self, branches=branches, tables=tables, grace_s=grace_s)

    def doctor(self, *, deep: bool = True, repair: bool = False, copies: Sequence[Path] = ()) -> Diagnosis:
        """Look at everything the store holds and name what is damaged.

        Args:
            deep: read every byte; otherwise only the sizes of files are looked at.
            repair: repair what needs no guess.
            copies: folders of other copies of this store, from which missing or damaged pieces may be taken.
        """
        from gristmill.store.doctor import examine

        return examine(self, deep=deep, repair=repair, copies=copies)

    # -- refs ---------------------------------------------------------------------------------------

    def _no_ref(self, kind: str, name: str) -> NotFound:
        known = sorted(self._refs(kind))
        hint = did_you_mean(name, known) or f"there are {', '.join(known[:10]) or 'none'}"
        return NotFound(f"there is no {kind} `{name}`", hint=hint)

    def _refs(self, kind: str) -> dict[str, str]:
        rows = self.catalog.rows("select name, target from refs where kind = ? order by name", (kind,))
        return {name: target.hex() for name, target in rows}

    def _make_ref(self, kind: str, name: str, at: str, reason: str = "") -> str:
        check_branch_name(name)
        target = history.resolve(self, at)
        with self.catalog.write() as db:
            if db.execute("select 1 from refs where kind = ? and name = ?", (kind, name)).fetchone():
                raise Conflict(f"there is a {kind} `{name}` already", code="GM-S009")
            set_ref(db, kind, name, None, target, default_author(), reason or f"create at {at}")
        return target.hex()

    def _drop_ref(self, kind: str, name: str) -> None:
        with self.catalog.write() as db:
            row = db.execute("select target from refs where kind = ? and name = ?", (kind, name)).fetchone()
            if row is not None:
                set_ref(db, kind, name, row[0], None, default_author(), "delete")
        if row is None:
            raise self._no_ref(kind, name)

    def branches(self) -> dict[str, str]:
        """Return the branches and the commits they point at."""
        return self._refs("branch")

    def create_branch(self, name: str, *, at: str = MAIN) -> str:
        """Make a branch at an address and return the commit; costs one row."""
        return self._make_ref("branch", name, at)

    def delete_branch(self, name: str) -> None:
        """Drop a branch; its commits stay in the reflog's reach."""
        if name == MAIN:
            raise UsageError("`main` cannot be deleted", code="GM-U118")
        self._drop_ref("branch", name)

    def rename_branch(self, name: str, new: str) -> None:
        """Give a branch another name."""
        check_branch_name(new)
        with self.catalog.write() as db:
            row = db.execute("select target from refs where kind = 'branch' and name = ?", (name,)).fetchone()
            if row is not None:
                if db.execute("select 1 from refs where kind = 'branch' and name = ?", (new,)).fetchone():
                    raise Conflict(f"there is a branch `{new}` already", code="GM-S009")
                set_ref(db, "branch", name, row[0], None, default_author(), f"rename to {new}")
                set_ref(db, "branch", new, None, row[0], default_author(), f"rename from {name}")
        if row is None:
            raise self._no_ref("branch", name)

    def tags(self) -> dict[str, str]:
        """Return the tags and their commits."""
        return self._refs("tag")

    def create_tag(self, name: str, *, at: str = MAIN) -> str:
        """Name a commit for good and return it."""
        return self._make_ref("tag", name, at)

    def delete_tag(self, name: str) -> None:
        """Drop a tag."""
        self._drop_ref("tag", name)

    def holds(self) -> dict[str, tuple[str, str]]:
        """Return the holds: name to (commit, reason)."""
        rows = self.catalog.rows("select name, target, reason from refs where kind = 'hold' order by name")
        return {name: (target.hex(), reason) for name, target, reason in rows}

    def create_hold(self, name: str, at: str, reason: str) -> str:
        """Keep a commit alive for a model, a prediction log or an export, and return it."""
        return self._make_ref("hold", name, at, reason)

    def release_hold(self, name: str) -> None:
        """Let go of a held commit."""
        self._drop_ref("hold", name)

    def reflog(self, branch: str) -> list[tuple[int, str | None, str | None, str]]:
        """Return where a branch has pointed, newest first: (time in µs, before, after, reason)."""
        rows = self.catalog.rows(
            "select time_us, before, after, reason from reflog where kind = 'branch' and name = ? order by seq desc",
            (branch,),
        )
        return [
            (when, before.hex() if before else None, after.hex() if after else None, reason)
            for when, before, after, reason in rows
        ]
