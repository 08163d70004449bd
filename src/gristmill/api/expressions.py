"""Ibis expressions on a snapshot, run by our kernel under our semantics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gristmill.errors import NotFound, UsageError, did_you_mean

if TYPE_CHECKING:
    import ibis
    import ibis.expr.types as ir
    import pyarrow as pa

    from gristmill.api.stores import Snapshot


def ibis_connection(snapshot: Snapshot) -> Connection:
    """Return an Ibis connection to the tables of a snapshot, to read from.

    Expressions run in our kernel, so that they mean what they mean in a definition; columns and row groups that an
    expression does not need are not read.

    >>> import tempfile, pyarrow as pa, gristmill as gm
    >>> store = gm.open(tempfile.mkdtemp() + "/store", create=True)
    >>> _ = store["main"].create_table("ref.airlines", pa.schema({"carrier": pa.string()})).append({"carrier": ["UA"]})
    >>> con = gm.ibis_connection(store.at("main"))
    >>> con.list_tables()
    ['ref.airlines']
    >>> airlines = con.table("ref.airlines")
    >>> airlines.filter(airlines.carrier == "UA").count().execute()
    1
    """
    return Connection(snapshot)


class Connection:
    """What `ibis_connection` returns: a source of Ibis tables that only reads."""

    name = "gristmill"

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def __repr__(self) -> str:
        return f"<ibis connection to {self._snapshot!r}>"

    def list_tables(self, *, like: str | None = None) -> list[str]:
        """Return the names of the tables; ``like`` is a regular expression."""
        import re

        return [name for name in self._snapshot.tables() if like is None or re.search(like, name)]

    def table(self, name: str) -> ibis.Table:
        """Return a table as an expression; raises NotFound."""
        import ibis.expr.operations as ops

        from gristmill.algebra import input_table

        if name not in self._snapshot:
            raise NotFound(f"there is no table `{name}`", hint=did_you_mean(name, self.list_tables()))
        schema = input_table(name, self._snapshot[name].schema).schema()
        return ops.DatabaseTable(name=name, schema=schema, source=self).to_expr()

    def compile(self, expr: ir.Expr, **_: object) -> str:
        """Return the SQL that the kernel runs."""
        from gristmill.engines.kernel import Kernel

        with Kernel() as kernel:
            return kernel.sql(expr.as_table().unbind())

    def to_pyarrow_batches(
        self, expr: ir.Expr, *, limit: int | str | None = None, params: object = None, **_: object
    ) -> pa.RecordBatchReader:
        """Return the rows of an expression as a stream."""
        return self._run(expr, limit, params).to_reader()

    def to_pyarrow(
        self, expr: ir.Expr, *, limit: int | str | None = None, params: object = None, **_: object
    ) -> pa.Table | pa.ChunkedArray | pa.Scalar:
        """Return the value of an expression: a table, a column or a scalar."""
        import ibis.expr.types as ir

        rows = self._run(expr, limit, params)
        if isinstance(expr, ir.Table):
            return rows
        return rows.column(0)[0] if isinstance(expr, ir.Scalar) else rows.column(0)

    def execute(self, expr: ir.Expr, *, limit: int | str | None = None, params: object = None, **_: object) -> object:
        """Return the value of an expression as pandas, or as a Python scalar."""
        import ibis.expr.types as ir

        found = self.to_pyarrow(expr, limit=limit, params=params)
        value: object = found.as_py() if isinstance(expr, ir.Scalar) else found.to_pandas()
        return value

    def to_pandas(self, expr: ir.Expr, **options: object) -> object:
        """Return the same as `execute`."""
        return self.execute(expr, **options)  # type: ignore[arg-type]

    def to_polars(self, expr: ir.Expr, **options: object) -> object:
        """Return the value of an expression as Polars, or as a Python scalar."""
        import ibis.expr.types as ir
        import polars

        found = self.to_pyarrow(expr, **options)  # type: ignore[arg-type]
        return found.as_py() if isinstance(expr, ir.Scalar) else polars.from_arrow(found)

    def _run(self, expr: ir.Expr, limit: int | str | None, params: object) -> pa.Table:
        import ibis.expr.operations as ops

        from gristmill.engines.kernel import Kernel
        from gristmill.store import compute

        if params:
            raise UsageError("parameters are not supported", code="GM-U122", hint="put the values in the expression")
        table = expr.as_table()
        with Kernel() as kernel:
            for node in expr.op().find(ops.DatabaseTable):
                compute.register(kernel.connection, node.name, self._snapshot.view.scan(node.name))
            rows = kernel.query(table.unbind()).read_all()
        return rows.slice(0, limit) if isinstance(limit, int) else rows
