"""What the kernel knows of tables: once for each state, small ones that stay in memory, and nothing left behind."""

from pathlib import Path

import pyarrow as pa
import pytest

import gristmill as gm
from gristmill.model.events import BatchCommitted
from gristmill.run.registering import forget_scans, register_table
from tests.run.streams import append, digests, event, lines, project


def known(ctx: object, name: str) -> list[int]:
    rows = ctx.kernel.connection.execute(f'SELECT x FROM "{name}" ORDER BY x').fetchall()  # type: ignore[attr-defined]
    return [row[0] for row in rows]


def test_a_table_is_known_as_it_is_and_kept_where_it_stays(tmp_path: Path) -> None:
    (tmp_path / "gristmill.toml").write_text("")
    made = gm.Project(tmp_path)
    with made.store.begin("main") as tx:
        tx.create_table("raw.t", pa.schema([("x", pa.int64())]))
        tx.append("raw.t", pa.table({"x": [1, 2]}))
    with made.context() as ctx:
        first = made.store.snapshot("main")
        register_table(ctx, first, "raw.t")
        assert ctx.kernel.known["raw.t"][1] is False
        register_table(ctx, first, "raw.t")
        assert ctx.kernel.known["raw.t"][1] is True
        assert known(ctx, "raw.t") == [1, 2]
        forget_scans(ctx.kernel)
        assert known(ctx, "raw.t") == [1, 2]
        with made.store.begin("main") as tx:
            tx.append("raw.t", pa.table({"x": [3]}))
        register_table(ctx, made.store.snapshot("main"), "raw.t")
        assert known(ctx, "raw.t") == [1, 2, 3]
        assert ctx.kernel.known["raw.t"][1] is False
        names = ctx.kernel.connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        assert not [name for (name,) in names if name.endswith("@kept")]
        register_table(ctx, first, "raw.t", known_as="raw.t@old")
        assert known(ctx, "raw.t@old") == [1, 2]
        forget_scans(ctx.kernel)
        assert not ctx.kernel.known
        register_table(ctx, made.store.snapshot("main"), "raw.t")
        assert known(ctx, "raw.t") == [1, 2, 3]


def test_a_table_may_be_computed_in_full_between_two_batches_that_follow(tmp_path: Path) -> None:
    made, sizes = project(tmp_path / "live"), [3, 400, 3]
    append(tmp_path / "live/in/a.ndjson", lines(event(i) for i in range(30)))
    made.run()
    seen: list[object] = []
    number = [30]

    def more(found: object) -> None:
        if isinstance(found, BatchCommitted):
            seen.append(found)
        if sizes and isinstance(found, BatchCommitted | type(None)):
            size = sizes.pop(0)
            append(tmp_path / "live/in/a.ndjson", lines(event(i) for i in range(number[0], number[0] + size)))
            number[0] += size

    more(None)
    made.stream(stop=lambda: len(seen) >= 3, listener=more, latency_s=0.05)
    batch = project(tmp_path / "batch")
    append(tmp_path / "batch/in/a.ndjson", lines(event(i) for i in range(436)))
    batch.run()
    assert digests(made) == digests(batch)


def test_what_was_begun_of_a_table_that_failed_is_not_in_the_way_later(tmp_path: Path, monkeypatch: object) -> None:
    from gristmill.errors import EngineError
    from gristmill.run.stage import Progress, bring_up
    from gristmill.store import Transaction

    made = project(tmp_path / "live")
    append(tmp_path / "live/in/a.ndjson", lines(event(i) for i in range(30)))
    made.run()
    append(tmp_path / "live/in/a.ndjson", lines(event(i) for i in range(30, 40)))
    made.run(["raw.ev"])
    derived = [node for node in made.graph.order() if node.kind == "table"]

    def full(*_: object, **__: object) -> None:
        raise EngineError("no room", code="GM-E002")

    with made.context() as ctx:
        for node in derived:
            with made.store.begin("main") as tx:
                with monkeypatch.context() as patched:  # type: ignore[attr-defined]
                    patched.setattr(Transaction, "stage", full)
                    with pytest.raises(EngineError, match="no room"):
                        bring_up(ctx, tx, node, "run/0", Progress(), anew=True)
                names = ctx.kernel.connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
                assert not [name for (name,) in names if not name.endswith("@kept")]
                tx.discard()
