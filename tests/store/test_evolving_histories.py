"""Random histories of one table whose definition changes on several branches: every value stays where it was written.

What a row holds is noted when it is written, by who the row is (id and sequence number) and by field id. Whatever is
merged, picked, reverted, compacted or defined otherwise after that: wherever that row is, each field that the table
has holds what was written, or nothing.
"""

from __future__ import annotations

import contextlib
import decimal
import random
from pathlib import Path

import pyarrow as pa
import pytest

from gristmill.errors import Conflict, DataError, UsageError
from gristmill.model.changes import (
    AddColumn,
    Change,
    DropColumn,
    RenameColumn,
    ReorderColumns,
    SetPartitioning,
    WidenColumn,
)
from gristmill.model.schema import ListType, Schema, StructType, Type
from gristmill.store import Store, compute, open_store

KINDS = [
    pa.int32(),
    pa.float32(),
    pa.string(),
    pa.decimal128(6, 2),
    pa.struct([("p", pa.int32()), ("q", pa.string())]),
    pa.list_(pa.struct([("p", pa.int32())])),
]
WIDER = {pa.int32(): pa.int64(), pa.float32(): pa.float64(), pa.decimal128(6, 2): pa.decimal128(10, 2)}
ACTS = ["write"] * 4 + ["merge"] * 3 + ["alter"] * 5 + ["alter inside"] * 3
ACTS += ["delete", "maintain", "branch", "revert", "revert", "pick"]

Who = tuple[int, int]


class History:
    """A store, and what was written into it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.store: Store = open_store(folder, create=True, durability="none")
        self.written: dict[Who, dict[int, object]] = {}
        self.branches = ["main"]
        self.next_id = 0
        with self.store.begin("main") as tx:
            first = [pa.field("id", pa.int64(), False), ("a", pa.int32()), ("n", KINDS[4])]
            tx.create_table("t", pa.schema(first), key="id")

    def act(self) -> None:
        branch, act = self.random.choice(self.branches), self.random.choice(ACTS)
        with contextlib.suppress(Conflict, UsageError, DataError):
            getattr(self, f"_{act.replace(' ', '_')}")(branch)

    # -- acts -------------------------------------------------------------------------------------------

    def _write(self, branch: str) -> None:
        known = [row["id"] for row in self.rows(branch)]
        count = self.random.choice([1, 3, 200])
        ids = {*self.random.sample(known, min(len(known), 3)), *range(self.next_id, self.next_id + count)}
        self.next_id += count
        schema = self.schema(branch)
        arrow = schema.to_arrow()
        given = {i: {f.name: i if f.name == "id" else self.value(f.type) for f in arrow} for i in sorted(ids)}
        with self.store.begin(branch) as tx:
            tx.upsert("t", pa.Table.from_pylist(list(given.values()), arrow))
        for row in self.rows(branch):
            if row["id"] in given:
                values = {f.id: by_id(given[row["id"]][f.name], f.type) for f in schema.fields}
                self.written[row["_row_id"], row["_last_updated_sequence_number"]] = values

    def _delete(self, branch: str) -> None:
        known = [row["id"] for row in self.rows(branch)]
        with self.store.begin(branch) as tx:
            tx.delete("t", keys=pa.table({"id": self.random.sample(known, min(len(known), 4))}))

    def _maintain(self, branch: str) -> None:
        self.store.maintain(branches=[branch], grace_s=0)

    def _branch(self, branch: str) -> None:
        if len(self.branches) < 4:
            self.branches.append(f"b{len(self.branches)}")
            self.store.create_branch(self.branches[-1], at=branch)

    def _merge(self, branch: str) -> None:
        self.store.merge(self.random.choice(self.branches), into=branch)

    def _revert(self, branch: str) -> None:
        self.store.revert(self.past(branch), on=branch)

    def _pick(self, branch: str) -> None:
        self.store.cherry_pick(self.past(self.random.choice(self.branches)), on=branch)

    def past(self, branch: str) -> str:
        """Return one of the last commits that did not make the table."""
        depth = self.store.commit_object(bytes.fromhex(self.store.resolve(branch))).depth
        if depth < 2:
            raise UsageError("only the table was made so far", code="GM-U000")
        return f"{branch}~{self.random.randrange(min(4, depth - 1))}"

    def _alter(self, branch: str) -> None:
        columns = {f.name: f.type for f in self.schema(branch).to_arrow() if f.name != "id"}
        new = self.random.choice("abcdefgh")
        name = self.random.choice(list(columns) or [new])
        changes: list[Change] = [
            AddColumn(new, self.random.choice(KINDS)),
            DropColumn(name),
            RenameColumn(name, new),
            ReorderColumns(tuple(self.random.sample(list(columns), self.random.randrange(len(columns) + 1)))),
            SetPartitioning(self.random.choice([(), ("bucket(3, id)",), ("truncate(50, id)",)])),
        ]
        if columns.get(name) in WIDER:
            changes.append(WidenColumn(name, WIDER[columns[name]]))
        with self.store.begin(branch) as tx:
            tx.alter("t", self.random.choice(changes))

    def _alter_inside(self, branch: str) -> None:
        arrow = self.schema(branch).to_arrow()
        structs = [field for field in arrow if pa.types.is_struct(field.type)]
        if not structs:
            return
        struct = self.random.choice(structs)
        child = self.random.choice(list(struct.type))
        new = self.random.choice("pqrs")
        changes: list[Change] = [
            AddColumn(f"{struct.name}.{new}", self.random.choice(KINDS[:3])),
            RenameColumn(f"{struct.name}.{child.name}", new),
            DropColumn(f"{struct.name}.{child.name}"),
        ]
        if child.type in WIDER:
            changes.append(WidenColumn(f"{struct.name}.{child.name}", WIDER[child.type]))
        with self.store.begin(branch) as tx:
            tx.alter("t", self.random.choice(changes))

    # -- what must hold ---------------------------------------------------------------------------------

    def check(self, branch: str) -> None:
        schema, rows = self.schema(branch), self.rows(branch)
        assert len({row["id"] for row in rows}) == len({row["_row_id"] for row in rows}) == len(rows)
        for row in rows:
            who = (row["_row_id"], row["_last_updated_sequence_number"])
            now = {f.id: by_id(row[f.name], f.type) for f in schema.fields}
            if who not in self.written:  # a merge has set a row of one side anew
                self.written[who] = next(
                    old for (row_id, _), old in self.written.items() if row_id == who[0] and holds(now, old)
                )
            assert holds(now, self.written[who]), (branch, row, self.written[who])

    def schema(self, branch: str) -> Schema:
        return self.store.snapshot(branch).schema_of("t")

    def rows(self, branch: str) -> list[dict]:  # type: ignore[type-arg]
        plan = self.store.snapshot(branch)._plan("t", row_ids=True, sequence=True)
        return compute.reader(plan).read_all().to_pylist()  # type: ignore[no-any-return]

    def value(self, kind: pa.DataType) -> object:
        if self.random.random() < 0.15:
            return None
        if pa.types.is_struct(kind):
            return {field.name: self.value(field.type) for field in kind}
        if pa.types.is_list(kind):
            return [self.value(kind.value_type) for _ in range(self.random.randrange(3))]
        number = self.random.randrange(100)
        if pa.types.is_string(kind):
            return f"x{number}"
        if pa.types.is_decimal(kind):
            return decimal.Decimal(number) / 100
        return number / 4 if pa.types.is_floating(kind) else number


def by_id(value: object, type_: Type) -> object:
    """Return a value with the fields of its structs by id."""
    if isinstance(value, dict) and isinstance(type_, StructType):
        return {field.id: by_id(value.get(field.name), field.type) for field in type_.fields}
    if isinstance(value, list) and isinstance(type_, ListType):
        return [by_id(item, type_.element) for item in value]
    return value


def holds(now: object, written: object) -> bool:
    """Whether what is read is what was written, in the fields that there are."""
    if isinstance(now, dict) and isinstance(written, dict):
        return all(holds(value, written.get(number)) for number, value in now.items())
    if isinstance(now, list) and isinstance(written, list):
        return len(now) == len(written) and all(map(holds, now, written))
    return now == written


@pytest.mark.parametrize("seed", [6, 9, 13, 21])
def test_every_value_stays_where_it_was_written(tmp_path: Path, seed: int) -> None:
    history = History(tmp_path / "s", seed)
    for _ in range(40):
        history.act()
        for branch in history.branches:
            history.check(branch)
    assert history.store.doctor().healthy
    history.store.close()
