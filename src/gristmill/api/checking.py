"""``gm.check``: rules on any frame, without a project or a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gristmill.errors import CheckFailed, DataError
from gristmill.model.findings import Finding
from gristmill.model.rules import Rule

if TYPE_CHECKING:
    from gristmill.contracts import Contract

Frame = object
"""Arrow, Polars, pandas or DuckDB: whatever can be read as an Arrow stream."""


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
    """Check every row of a frame.

    Args:
        frame: pandas, Polars (lazy too), Arrow or DuckDB rows.
        rules: what must hold: rules from ``gm.rules``, or a contract or the path of one.
        name: what to call the frame in messages, and which table of a contract it is.
        references: other frames by name, for ``references`` rules.

    >>> import pyarrow as pa
    >>> import gristmill as gm
    >>> gm.check(pa.table({"age": [31, 200]}), [gm.rules.between("age", low=0, high=150)])
    fail        0 <= age <= 150  1 of 2 rows
                age=200
    """
    import time

    import duckdb

    from gristmill.contracts import check as check_relation

    if not isinstance(rules, Sequence) or isinstance(rules, str):
        rules = _rules_of(rules, name)
    config = {"python_enable_replacements": "false", "enable_external_access": "false"}
    with duckdb.connect(config=config) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"SET VARIABLE gristmill_run_us = {time.time_ns() // 1000}::BIGINT")
        connection.register("_gristmill_frame", _readable(frame))
        known = {}
        for other, rows in (references or {}).items():
            connection.register(f"_gristmill_ref_{other}", _readable(rows))
            known[other] = f'"_gristmill_ref_{other}"'
        return CheckReport(check_relation(connection, "_gristmill_frame", rules, table=name, references=known).findings)


def _rules_of(given: str | Path | Contract, name: str) -> tuple[Rule, ...]:
    from gristmill.contracts import Contract, load

    contract = given if isinstance(given, Contract) else load(given)
    return contract.table(name).rules


def _readable(frame: Frame) -> object:
    import pyarrow as pa

    if isinstance(frame, pa.Table):
        return frame
    if type(frame).__module__.split(".")[0] == "pandas":
        return pa.Table.from_pandas(frame, preserve_index=False)
    if type(frame).__name__ == "LazyFrame" and hasattr(frame, "collect"):
        return pa.table(frame.collect())
    if hasattr(frame, "to_arrow_table"):
        return frame.to_arrow_table()
    if hasattr(frame, "__arrow_c_stream__"):
        return pa.table(frame)
    raise DataError(
        f"a {type(frame).__name__} is no frame", code="GM-D014", hint="give pandas, Polars, Arrow or DuckDB"
    )
