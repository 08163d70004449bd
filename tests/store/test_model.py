"""Random commits, branches, merges, reverts, compactions against a model in plain Python."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import pyarrow as pa
from hypothesis import Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gristmill.errors import Conflict, DataError
from gristmill.model.predicates import Compare
from gristmill.store import Store, Transaction, open_store
from gristmill.store.history import common_ancestors

KEYED = pa.schema([pa.field("id", pa.int64(), False), ("v", pa.int64())])
BRANCHES = ("main", "a", "b")

Who = tuple[int, int]
"""Row id and sequence number."""
State = dict[Who, tuple[int, int]]
"""The rows of a table: who, and (id, value)."""

keys = st.sets(st.integers(0, 30), min_size=1, max_size=6)
branches = st.sampled_from(BRANCHES)


class StoreMachine(RuleBasedStateMachine):
    """The store beside a dictionary per commit and table.

    What a row is called (row id and sequence number) is read from the store; what it holds is not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store: Store = open_store(Path(self.folder.name) / "s", True, durability="none")
        self.values: dict[str, dict[str, Counter[tuple[int, int]]]] = {}
        self.next_value = 0

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    @initialize()
    def begin(self) -> None:
        with self.store.begin("main") as tx:
            tx.create_table("k", KEYED, key="id")
            tx.create_table("log", KEYED)
        self._set("main", {"k": Counter(), "log": Counter()})

    # -- helpers ------------------------------------------------------------------------------------

    def _set(self, branch: str, tables: dict[str, Counter[tuple[int, int]]]) -> None:
        self.values[self.store.resolve(branch)] = tables

    def _at(self, ref: str) -> dict[str, Counter[tuple[int, int]]]:
        known = self.values[self.store.resolve(ref)]
        return {name: Counter(rows) for name, rows in known.items()}

    def _who(self, ref: str, table: str) -> State:
        snapshot = self.store.snapshot(ref)
        from gristmill.store import compute

        rows = compute.reader(snapshot._plan(table, row_ids=True, sequence=True)).read_all()
        return {(r["_row_id"], r["_last_updated_sequence_number"]): (r["id"], r["v"]) for r in rows.to_pylist()}

    def _rows(self, ids: set[int]) -> pa.Table:
        self.next_value += 1
        return pa.table({"id": sorted(ids), "v": [self.next_value] * len(ids)}, KEYED)

    def _edit(self, branch: str, change: Callable[[Transaction], object], expected: dict) -> None:  # type: ignore[type-arg]
        with self.store.begin(branch) as tx:
            change(tx)
        self._set(branch, expected)

    # -- edits --------------------------------------------------------------------------------------

    @rule(branch=branches, ids=keys)
    def upsert(self, branch: str, ids: set[int]) -> None:
        if branch not in self.store.branches():
            return
        rows = self._rows(ids)
        now = self._at(branch)
        now["k"] = Counter({row: 1 for row in now["k"] if row[0] not in ids} | {(i, self.next_value): 1 for i in ids})
        self._edit(branch, lambda tx: tx.upsert("k", rows), now)

    @rule(branch=branches, ids=keys)
    def delete(self, branch: str, ids: set[int]) -> None:
        if branch not in self.store.branches():
            return
        now = self._at(branch)
        now["k"] = Counter({row: 1 for row in now["k"] if row[0] not in ids})
        self._edit(branch, lambda tx: tx.delete("k", keys=pa.table({"id": sorted(ids)})), now)

    @rule(branch=branches, ids=keys)
    def replace(self, branch: str, ids: set[int]) -> None:
        if branch not in self.store.branches():
            return
        rows = self._rows(ids)
        now = self._at(branch)
        now["k"] = Counter({(i, self.next_value): 1 for i in ids})
        self._edit(branch, lambda tx: tx.replace("k", rows), now)

    @rule(branch=branches, ids=keys, times=st.integers(1, 3), bulk=st.booleans())
    def log(self, branch: str, ids: set[int], times: int, bulk: bool) -> None:
        if branch not in self.store.branches():
            return
        for _ in range(times):
            rows = self._rows(ids)
            if bulk:
                rows = pa.concat_tables([rows] * 60)
            now = self._at(branch)
            now["log"] += Counter({(i, self.next_value): 60 if bulk else 1 for i in ids})
            self._edit(branch, lambda tx, rows=rows: tx.append("log", rows), now)  # type: ignore[misc]

    @rule(branch=branches, low=st.integers(0, 30))
    def cut_log(self, branch: str, low: int) -> None:
        if branch not in self.store.branches():
            return
        now = self._at(branch)
        now["log"] = Counter({row: n for row, n in now["log"].items() if row[0] < low})
        self._edit(branch, lambda tx: tx.delete("log", Compare("id", ">=", low)), now)

    @rule(branch=branches)
    def tidy(self, branch: str) -> None:
        if branch not in self.store.branches():
            return
        now = self._at(branch)
        self.store.maintain(branches=[branch], grace_s=86_400)
        self._set(branch, now)

    # -- history ------------------------------------------------------------------------------------

    @rule(name=st.sampled_from(("a", "b")), at=branches)
    def branch(self, name: str, at: str) -> None:
        if name not in self.store.branches() and at in self.store.branches():
            self.store.create_branch(name, at=at)

    @rule(source=branches, into=branches)
    @precondition(lambda self: len(self.store.branches()) > 1)
    def merge(self, source: str, into: str) -> None:
        if source == into or not {source, into} <= self.store.branches().keys():
            return
        heads = [bytes.fromhex(self.store.resolve(name)) for name in (into, source)]
        bases = common_ancestors(self.store, *heads)
        if len(bases) > 1:
            self._merge_with_several_bases(source, into)
            return
        self._three_way(into, bases[0].hex(), source, lambda: self.store.merge(source, into=into))

    def _merge_with_several_bases(self, source: str, into: str) -> None:
        head = self.store.resolve(into)
        try:
            self.store.merge(source, into=into)
        except Conflict:
            assert self.store.resolve(into) == head
            return
        self._set(into, {name: Counter(self._who(into, name).values()) for name in ("k", "log")})

    @rule(on=branches, back=st.integers(0, 3))
    def revert(self, on: str, back: int) -> None:
        if on not in self.store.branches() or self.store.commit_object(self._oid(on)).depth < back + 2:
            return
        undone = self.store.resolve(f"{on}~{back}")
        self._three_way(on, undone, f"{undone}~1", lambda: self.store.revert(undone, on=on))

    @rule(on=branches, picked=branches, back=st.integers(0, 2))
    def cherry_pick(self, on: str, picked: str, back: int) -> None:
        known = self.store.branches()
        if not {on, picked} <= known.keys() or self.store.commit_object(self._oid(picked)).depth < back + 2:
            return
        commit = self.store.resolve(f"{picked}~{back}")
        self._three_way(on, f"{commit}~1", commit, lambda: self.store.cherry_pick(commit, on=on))

    @rule(on=branches, back=st.integers(1, 4))
    def restore(self, on: str, back: int) -> None:
        if on not in self.store.branches() or self.store.commit_object(self._oid(on)).depth < back + 1:
            return
        now = self._at(f"{on}~{back}")
        self.store.restore(f"{on}~{back}", on=on)
        self._set(on, now)

    def _oid(self, branch: str) -> bytes:
        return bytes.fromhex(self.store.resolve(branch))

    def _three_way(self, on: str, base: str, mine: str, act: Callable[[], str]) -> None:
        head = self.store.resolve(on)
        wanted, clash = {}, False
        for table in ("k", "log"):
            before, ours, theirs = (self._who(ref, table) for ref in (base, mine, on))
            rows, bad = _combined(before, ours, theirs, keyed=table == "k")
            wanted[table], clash = rows, clash or bad
        try:
            act()
        except (Conflict, DataError):
            assert clash, "a conflict where both sides fit together"
            assert self.store.resolve(on) == head
            return
        assert not clash, "no conflict where both sides changed the same row"
        self._set(on, wanted)

    # -- what must always hold ----------------------------------------------------------------------

    @invariant()
    def heads_hold_what_the_model_holds(self) -> None:
        if not self.values:
            return
        for branch in self.store.branches():
            for table, expected in self._at(branch).items():
                rows = self._who(branch, table)
                state = self.store.snapshot(branch).table(table)
                assert Counter(rows.values()) == expected, (branch, table)
                assert state.row_count == sum(expected.values()) == len(rows)
                assert len({who[0] for who in rows}) == len(rows), "a row id names two rows"

    @invariant()
    def history_stays(self) -> None:
        for commit in list(self.values)[-4:]:
            for table, expected in self.values[commit].items():
                assert Counter(self._who(commit, table).values()) == expected


def _combined(base: State, mine: State, head: State, *, keyed: bool) -> tuple[Counter[tuple[int, int]], bool]:
    """Return the rows after putting both changes together, and whether they clash."""
    agreed = (mine.keys() - base.keys()) & (head.keys() - base.keys())
    gone, gone_too = base.keys() - mine.keys(), base.keys() - head.keys()
    same = {who[0] for who in agreed}
    again = {who[0] for who in (mine.keys() | head.keys()) - base.keys()}
    clash = any(who[0] not in same and who[0] in again for who in gone & gone_too)
    came = (mine.keys() - base.keys()) - agreed
    there = {who[0] for who in head.keys() - base.keys()}
    clash = clash or any(who[0] in there for who in came)
    rows = {who: row for who, row in head.items() if who not in gone} | {who: mine[who] for who in came}
    found = Counter(rows.values())
    if keyed:
        clash = clash or len({row[0] for row in rows.values()}) < len(rows)
    return found, clash


StoreMachine.TestCase.settings = settings(
    max_examples=12, stateful_step_count=18, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)
TestStore = StoreMachine.TestCase
