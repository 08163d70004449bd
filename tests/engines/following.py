"""A definition that follows edits of its inputs, compared after each with what computing all anew gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping

import ibis
import pyarrow as pa

from gristmill import algebra
from gristmill.algebra.delta import Maintained
from gristmill.engines.kernel import Kernel, run_changes
from tests.programs import arrow, bag, schema_of

Row = tuple[object, ...]
Changed = Mapping[str, tuple[str, list[tuple[Row, int]]]]


class Following:
    """The output and the hidden states of a definition, kept up to date by changes only.

    Args:
        kernel: where everything runs.
        expr: the definition.
        tables: the rows of its inputs.
    """

    def __init__(self, kernel: Kernel, expr: ibis.Table, tables: Mapping[str, list[Row]]) -> None:
        self.kernel, self.expr = kernel, expr
        self.tables = {name: list(tables[name]) for name in algebra.reads(expr)}
        self._register_plain()
        self.output = self.anew()
        first = algebra.maintain(expr, {})
        self.states = {state.suffix: self._built(state) for state in first.states}

    def _register_plain(self) -> None:
        for name, rows in self.tables.items():
            self.kernel.register(name, arrow(name, rows))

    def anew(self) -> Counter[tuple[Hashable, ...]]:
        """Return the output computed in full."""
        return bag(self.kernel.query(self.expr).read_all())

    def _built(self, state: object) -> pa.Table:
        text = self.kernel.text(state.build)  # type: ignore[attr-defined]
        return self.kernel.query(text).read_all()

    def follow(self, changed: Changed) -> Maintained:
        """Apply changes, by the delta algebra alone, and check everything.

        Args:
            changed: by input, the kind that is promised and the rows that go (-1) and come (+1).
        """
        changed = {name: change for name, change in changed.items() if name in self.tables}
        maintained = algebra.maintain(self.expr, {name: kind for name, (kind, _) in changed.items()})
        self._register(changed)
        if maintained.mode != "reuse":
            self._take(maintained)
        self._register_plain()
        expect = self.anew()
        assert +self.output == expect, (self.output - expect, expect - self.output)
        assert all(count > 0 for count in self.output.values())
        for state in maintained.states:
            built, kept = bag(self._built(state)), bag(self.states[state.suffix])
            assert kept == built, (state.suffix, kept - built, built - kept)
        return maintained

    def _register(self, changed: Changed) -> None:
        for name, (_, rows) in changed.items():
            self.kernel.register(f"{name}@old", arrow(name, self.tables[name]))
            went, came = ([row for row, w in rows if w == sign] for sign in (-1, 1))
            now = Counter_of(self.tables[name])
            for row in came:
                now.append(row)
            for row in went:
                now.remove_row(row)
            self.tables[name] = now.rows
            self.kernel.register(f"{name}@new", arrow(name, now.rows))
            weights = pa.array([w for _, w in rows], pa.int64())
            delta = arrow(name, [row for row, _ in rows]).append_column("_w", weights)
            self.kernel.register(f"{name}@delta", delta)
            assert delta.schema.names[:-1] == schema_of(name).names
        for suffix, rows in self.states.items():
            self.kernel.register(f"out{suffix}@old", rows)

    def _take(self, maintained: Maintained) -> None:
        with run_changes(self.kernel, maintained) as found:
            table = self.kernel.query(found.sql).read_all()
            assert len(bag(table.drop_columns(["_w"]))) == table.num_rows, "a row stands twice"
            weights = table.column("_w").to_pylist()
            assert 0 not in weights
            assert found.came == sum(w for w in weights if w > 0)
            assert found.gone == -sum(w for w in weights if w < 0)
            for change in found.states:
                self._take_state(change.state, change.gone_sql, change.came_sql)
        for row, weight in bag(table, "_w").items():
            self.output[row] += weight
            if not self.output[row]:
                del self.output[row]

    def _take_state(self, state: object, gone_sql: str, came_sql: str) -> None:
        suffix, key = state.suffix, list(state.key)  # type: ignore[attr-defined]
        gone = bag(self.kernel.query(gone_sql).read_all())
        came = self.kernel.query(came_sql).read_all()
        rows = self.states[suffix]
        keys = [next(iter(bag(rows.select(key or rows.schema.names).slice(i, 1)))) for i in range(rows.num_rows)]
        kept = rows.filter(pa.array([k not in gone for k in keys], pa.bool_()))
        self.states[suffix] = pa.concat_tables([kept, came.cast(rows.schema)])


class Counter_of:  # noqa: N801
    """Rows from which one may be taken by its bits."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = list(rows)

    def append(self, row: Row) -> None:
        """Add a row."""
        self.rows.append(row)

    def remove_row(self, row: Row) -> None:
        """Take one row away that is the same bit for bit."""
        from tests.programs import bits

        at = next(i for i, have in enumerate(self.rows) if bits(have) == bits(row))
        del self.rows[at]
