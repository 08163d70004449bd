"""``gm.check``: rules on any frame, without a project or a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gristmill.errors import CheckFailed, DataError, UsageError
from gristmill.model.findings import Finding
from gristmill.model.rules import Rule

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from gristmill.contracts import Contract

Frame = object
"""Arrow, Polars, pandas or DuckDB: whatever can be read as an Arrow stream; or the path of a file."""
_FRAME = "_gristmill_frame"


class CheckReport:
    """What a check found: ``.ok``, ``.findings``, ``.failures``, ``.raise_if_failed()``."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)

    @property
    def ok(self) -> bool:
        """Whether nothing failed, could not be run, or was not looked at."""
        return not self.failures

    @property
    def failures(self) -> tuple[Finding, ...]:
        """Findings that failed, erred or were not checked; a rule set to quarantine that found rows is one too."""
        return tuple(finding for finding in self.findings if finding.blocks or finding.quarantined)

    def raise_if_failed(self) -> None:
        """Raise CheckFailed with the first failure."""
        if self.failures:
            first = self.failures[0]
            raise CheckFailed(
                f"{len(self.failures)} of {len(self.findings)} rules failed; the first: {first.words}",
                where=first.table,
                examples=[str(example) for example in first.examples],
            )

    def __repr__(self) -> str:
        lines = []
        for finding in self.findings:
            lines.append(f"{finding.outcome:<12}{finding.words}  {finding.seen}".rstrip())
            lines += [f"            {example}" for example in finding.examples]
        return "\n".join(lines)


def check(
    frame: Frame,
    rules: Sequence[Rule] | str | Path | Contract,
    *,
    name: str = "frame",
    references: Mapping[str, Frame] | None = None,
) -> CheckReport:
    """Check every row of a frame, or of files.

    Args:
        frame: pandas, Polars (lazy too), Arrow or DuckDB rows, or a list of dicts; or the path of a file or a
            pattern of files: Parquet, CSV, JSON, NDJSON or Arrow. What a Parquet footer proves is not read; a row of
            text that does not fit the others' types is a failure of its own, with its line.
        rules: what must hold: rules from ``gm.rules``, or a contract or the path of one.
        name: what to call the frame in messages, and which table of a contract it is.
        references: other frames by name, for ``references`` rules.

    >>> import pyarrow as pa
    >>> import gristmill as gm
    >>> gm.check(pa.table({"age": [31, 200]}), [gm.rules.between("age", low=0, high=150)])
    fail        0 <= age <= 150  1 of 2 rows
                age=200
    """
    from gristmill.api.file_checking import FileRows, load_text, parquet_files, view_parquet
    from gristmill.contracts import Surroundings
    from gristmill.contracts import check as check_relation
    from gristmill.contracts.sqltext import quote

    rules = _rules_of(rules, name)
    parquet = parquet_files(frame) if isinstance(frame, str | Path) else []
    with _connection(readable=parquet) as connection:
        rows = FileRows()
        if parquet:
            rows = view_parquet(connection, _FRAME, parquet)
        elif isinstance(frame, str | Path):
            rows = load_text(connection, _FRAME, frame)
        else:
            _register(connection, _FRAME, frame)
        known = {}
        for other, other_rows in (references or {}).items():
            _register(connection, f"_gristmill_ref_{other}", other_rows)
            known[other] = quote(f"_gristmill_ref_{other}")
        near = Surroundings(references=known, known=rows.known, order=rows.origin)
        found = check_relation(connection, _FRAME, rules, table=name, show=rows.origin, surroundings=near).findings
        return CheckReport(rows.findings(name, found))


def _connection(*, readable: Sequence[str]) -> duckdb.DuckDBPyConnection:
    """Return an engine that can open only the given files: rules in a contract may hold any SQL."""
    import time

    import duckdb

    from gristmill.contracts.sqltext import literal

    connection = duckdb.connect(config={"python_enable_replacements": "false"})
    connection.execute(f"SET allowed_paths = [{', '.join(map(literal, readable))}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"SET VARIABLE gristmill_run_us = {time.time_ns() // 1000}::BIGINT")
    return connection


def _rules_of(given: Sequence[Rule] | str | Path | Contract, name: str) -> Sequence[Rule]:
    from gristmill.contracts import Contract, load

    if isinstance(given, Sequence) and not isinstance(given, str):
        odd = next((item for item in given if not isinstance(item, Rule)), None)
        if odd is not None:
            raise UsageError(f"{odd!r} is no rule", code="GM-U018", hint='gm.rules.condition("SQL"), among others')
        return given
    if not isinstance(given, str | Path | Contract):
        raise UsageError(f"a {type(given).__name__} is no rules", code="GM-U018", hint="give a list of gm.rules")
    contract = given if isinstance(given, Contract) else load(given)
    return contract.table(name).rules


def _register(connection: duckdb.DuckDBPyConnection, name: str, frame: Frame) -> None:
    import duckdb

    try:
        connection.register(name, _readable(frame))
        connection.table(name)
    except duckdb.Error as error:
        words = str(error).splitlines()[0]
        hint = "cast or drop columns of types that DuckDB has not"
        raise DataError(f"the frame cannot be read: {words}", code="GM-D014", hint=hint) from error


def _readable(frame: Frame) -> pa.Table:
    import pyarrow as pa

    try:
        table = _as_table(frame)
    except (pa.ArrowException, ValueError, TypeError) as error:
        words = " ".join(str(part) for part in error.args)
        raise DataError(f"the frame cannot be read as Arrow: {words}", code="GM-D014") from error
    if table is None:
        raise DataError(
            f"a {type(frame).__name__} is no frame",
            code="GM-D014",
            hint="give pandas, Polars, Arrow, DuckDB or a list of dicts",
        )
    if not table.num_columns:
        raise DataError("the frame has no columns", code="GM-D014")
    return table


def _as_table(frame: Frame) -> pa.Table | None:
    import pyarrow as pa

    if isinstance(frame, pa.Table):
        return frame
    if isinstance(frame, list):
        return pa.Table.from_pylist(frame)
    if type(frame).__module__.split(".")[0] == "pandas" and type(frame).__name__ != "Series":
        return pa.Table.from_pandas(frame, preserve_index=False)
    if type(frame).__name__ == "LazyFrame" and hasattr(frame, "collect"):
        return pa.table(frame.collect())
    if hasattr(frame, "to_arrow_table"):
        table = frame.to_arrow_table()
        return table if isinstance(table, pa.Table) else None
    return pa.table(frame) if hasattr(frame, "__arrow_c_stream__") and hasattr(frame, "columns") else None
