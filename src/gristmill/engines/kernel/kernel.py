"""A DuckDB connection with fixed settings, and the few ways to run something on it."""

from __future__ import annotations

import re
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from gristmill.engines.kernel.exact import FUNCTIONS
from gristmill.errors import DataError, DefinitionError, EngineError, GristmillError, UsageError
from gristmill.model.names import quote as quote

if TYPE_CHECKING:
    import duckdb
    import ibis
    import pyarrow as pa

    from gristmill.engines.kernel.sql_text import SqlDefinition

_BATCH_ROWS = 122_880
_PLANS_KEPT = 1_024
_KIND = re.compile(r"^([A-Z][A-Za-z]* ([a-z]+ )?)+Error: ")
"""The class of an error, which DuckDB puts before its message; the code says it here."""
Key = TypeVar("Key")
Value = TypeVar("Value")


class Kernel:
    """One DuckDB instance in this process: expressions and SQL in, Arrow out.

    A result is a stream and the connection is busy until it is read to its end or closed. Use one kernel per
    thread.

    Args:
        memory_limit_bytes: what DuckDB may hold in memory before it spills; its own default when None.
        threads: how many threads; all processors when None, or as many as the memory has room for: each holds some of
            it while it reads and writes, which it cannot spill. Results never depend on it.
        temp_dir: where to spill; a fresh folder of the system's when None, removed on close.
        temp_limit_bytes: how much may be spilled; DuckDB's own default (90 % of the free disk) when None.

    >>> with Kernel(threads=1) as kernel:
    ...     kernel.query("select 1 as one").read_all().to_pylist()
    [{'one': 1}]
    """

    def __init__(
        self,
        *,
        memory_limit_bytes: int | None = None,
        threads: int | None = None,
        temp_dir: str | Path | None = None,
        temp_limit_bytes: int | None = None,
    ) -> None:
        import duckdb

        self.memory_limit_bytes = memory_limit_bytes
        made = tempfile.mkdtemp(prefix="gristmill-") if temp_dir is None else None
        self._clean_up = weakref.finalize(self, shutil.rmtree, made, True) if made else None
        self._plans: dict[tuple[str, int | None], str] = {}
        self._checked: dict[tuple[str, bool, tuple[tuple[str, str], ...]], SqlDefinition] = {}
        self._texts: dict[tuple[object, int | None], str] = {}
        self.known: dict[str, tuple[str, bool]] = {}
        with engine_errors():
            config = _settings(made or str(temp_dir), memory_limit_bytes, threads, temp_limit_bytes)
            self.connection: duckdb.DuckDBPyConnection = duckdb.connect(config=config)
            self.connection.execute("SET TimeZone = 'UTC'")
            for name, (function, types, result) in FUNCTIONS.items():
                self.connection.create_function(name, function, types, result, null_handling="special")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection and what it spilled; a second call does nothing."""
        self.connection.close()
        if self._clean_up is not None:
            self._clean_up()

    def lane(self) -> Kernel:
        """Return another kernel on the same database, memory and settings, for another thread.

        What is registered here is not known there. Close it before this one.
        """
        other = copy(self)
        with engine_errors():
            other.connection = self.connection.cursor()
            other.connection.execute("SET TimeZone = 'UTC'")
        other._clean_up, other.known = None, {}
        other._plans, other._checked, other._texts = dict(self._plans), dict(self._checked), dict(self._texts)
        return other

    def interrupt(self) -> None:
        """End what another thread runs on this kernel; it raises EngineError there."""
        self.connection.interrupt()

    def register(self, name: str, relation: str | pa.Table | pa.RecordBatchReader) -> None:
        """Make rows known under a dotted table name, replacing what had it; SQL text becomes a view.

        A record batch reader can be read once only.
        """
        with engine_errors():
            self.unregister(name)
            if isinstance(relation, str):
                self.connection.execute(f"CREATE OR REPLACE TEMP VIEW {quote(name)} AS {relation}")
            else:
                self.connection.register(name, relation)

    def unregister(self, name: str) -> None:
        """Forget a name; nothing happens when it is not known."""
        self.known.pop(name, None)
        with engine_errors():
            self.connection.execute(f"DROP VIEW IF EXISTS {quote(name)}")

    def few(self, text: str, *, rows: int) -> pa.RecordBatchReader:
        """Run SQL text that gives little and stream its rows, in batches of at most ``rows``.

        A relation is planned twice, for its columns and to run it, which costs more than a few rows do; a plain query
        copies its rows once more instead, and warns of that for nothing.
        """
        warnings.filterwarnings("ignore", message="Arrow output on a DB-API result", category=UserWarning)
        return self.connection.execute(text).to_arrow_reader(rows)

    def sql(self, expr: ibis.Table, *, run_time_us: int | None = None) -> str:
        """Return the DuckDB SELECT for an expression, under our semantics; compiled once per fingerprint.

        Args:
            expr: over unbound tables named as they are registered.
            run_time_us: the value of ``gm.run_time()``, in microseconds since 1970 UTC.
        """
        from gristmill.algebra.inputs import literals
        from gristmill.engines.kernel.compiler import compile_sql

        known = ((expr.op(), literals(expr.op())), run_time_us)
        text = self._texts.get(known)
        if text is None:
            plain, name = self._named(expr)
            text = self._plans.get((name, run_time_us)) or compile_sql(plain, run_time_us=run_time_us)
            _keep(self._plans, (name, run_time_us), text)
            _keep(self._texts, known, text)
        return text

    def text(self, expr: ibis.Table) -> str:
        """Return the DuckDB SELECT for an expression that is in normal form already, as it stands."""
        from gristmill.engines.kernel.compiler import compile_sql

        return compile_sql(expr)

    def _named(self, expr: ibis.Table) -> tuple[ibis.Table, str]:
        """Return the normal form and its digest, which two differently built expressions may share."""
        from gristmill.algebra.identity import digest
        from gristmill.algebra.rewrite import normalise

        plain = normalise(expr)
        return plain, digest(plain.op())

    def query(self, what: ibis.Table | str, *, run_time_us: int | None = None) -> pa.RecordBatchReader:
        """Run an expression or SQL text and stream its rows.

        Raises:
            DataError: a value does not fit: overflow, division by zero, a cast that fails.
            EngineError: DuckDB, the disk or the memory failed.
        """
        text = what if isinstance(what, str) else self.sql(what, run_time_us=run_time_us)
        with engine_errors():
            return self.connection.sql(text).to_arrow_reader(_BATCH_ROWS)

    def schema(self, what: ibis.Table | str) -> pa.Schema:
        """Return the Arrow schema of an expression or of SQL text, without running it."""
        text = what if isinstance(what, str) else self.sql(what, run_time_us=0)
        with engine_errors():
            return self.connection.sql(f"SELECT * FROM ({text}) LIMIT 0").to_arrow_table().schema

    def check_sql(self, text: str, tables: Mapping[str, pa.Schema], *, once: bool = False) -> SqlDefinition:
        """Check a SQL definition against the tables that it may read, and bring it under our semantics.

        Args:
            text: one SELECT; tables as dotted names or as whole names in quotes.
            tables: the schema of every table that may be read, by dotted name.
            once: it is a question asked once, not a definition: LIMIT without an order or now() may stand in it.

        Raises:
            DefinitionError: it is not one SELECT, reads something else, could give another answer on another
                run, or does not fit the schemas; the hint says what to write.
        """
        from gristmill.engines.kernel.sql_following import following
        from gristmill.engines.kernel.sql_text import (
            SqlDefinition,
            inputs_of,
            parse_select,
            refuse_outside,
            refuse_unstable,
            with_semantics,
        )

        key = (text, once, tuple((name, str(schema)) for name, schema in sorted(tables.items())))
        known = self._checked.get(key)
        if known is not None:
            return known
        tree = parse_select(text)
        inputs = inputs_of(tree, tables)
        (refuse_outside if once else refuse_unstable)(tree)
        sql, notes, typed = with_semantics(tree, inputs, tables)
        with engine_errors(), self._empty(inputs, tables) as cursor:
            schema = cursor.sql(f"SELECT * FROM ({sql}) LIMIT 0").to_arrow_table().schema
            names = tuple(schema.names)
            made = SqlDefinition(sql=sql, inputs=tuple(inputs), columns=names, schema=schema, notes=tuple(notes))
            if not once:
                made = following(made, typed, tables, cursor)
        _keep(self._checked, key, made)
        return made

    @contextmanager
    def _empty(self, names: Iterable[str], schemas: Mapping[str, pa.Schema]) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a connection on which the tables are there and have no rows."""
        cursor = self.connection.cursor()
        try:
            for name in names:
                cursor.register(name, schemas[name].empty_table())
            yield cursor
        finally:
            cursor.close()


def _keep(cache: dict[Key, Value], key: Key, value: Value) -> None:
    """Remember a value, forgetting the oldest one when there are too many."""
    if len(cache) >= _PLANS_KEPT:
        cache.pop(next(iter(cache)))
    cache[key] = value


def _settings(
    folder: str, memory_limit_bytes: int | None, threads: int | None, temp_limit_bytes: int | None
) -> dict[str, str]:
    from gristmill.store.compute import fitting_threads

    settings = {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
        "default_null_order": "nulls_last",
        "ieee_floating_point_ops": "true",
        "integer_division": "false",
        "preserve_insertion_order": "false",
        "python_enable_replacements": "false",
        "temp_directory": folder,
    }
    if memory_limit_bytes is not None:
        settings["memory_limit"] = f"{memory_limit_bytes}B"
        threads = fitting_threads(memory_limit_bytes, threads)
    if threads is not None:
        settings["threads"] = str(threads)
    if temp_limit_bytes is not None:
        settings["max_temp_directory_size"] = f"{temp_limit_bytes}B"
    return settings


@contextmanager
def engine_errors() -> Iterator[None]:
    """Turn what DuckDB raises into the errors of this package."""
    import duckdb

    from gristmill.store.damage import reading

    try:
        with reading():
            yield
    except GristmillError:
        raise
    except duckdb.ResourceInUseException as error:
        raise UsageError("the kernel is busy with an unread result", hint="read it to its end or close it") from error
    except (duckdb.ConversionException, duckdb.OutOfRangeException, duckdb.InvalidInputException) as error:
        raise DataError(_first_line(error)) from error
    except (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException) as error:
        raise DefinitionError(_first_line(error)) from error
    except duckdb.OutOfMemoryException as error:
        raise EngineError(
            _first_line(error), code="GM-E002", hint="give more memory ([run] memory_gib), or more disk to spill to"
        ) from error
    except duckdb.Error as error:
        raise EngineError(_first_line(error), retryable=isinstance(error, duckdb.IOException)) from error


def _first_line(error: Exception) -> str:
    return _KIND.sub("", str(error).split("\n", 1)[0]).rstrip(".")
