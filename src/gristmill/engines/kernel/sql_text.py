"""SQL definitions: what may stand in one, which tables it reads, and our semantics as far as text allows.

A definition is one SELECT in DuckDB's dialect. Table names are dotted (``clean.flights``) or quoted whole
(``"clean.flights"``). Column types come from the inputs' schemas; where they cannot be told, an operation
that depends on them stays as the engine has it, and ``notes`` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec
import sqlglot as sg
import sqlglot.expressions as sge
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.annotate_types import annotate_types
from sqlglot.optimizer.qualify import qualify
from sqlglot.schema import MappingSchema

from gristmill.algebra.semantics import FORMULAS
from gristmill.engines.kernel.fill import fill_text
from gristmill.engines.kernel.sql_case import DIALECT, keep_star_names, spell
from gristmill.errors import DefinitionError, did_you_mean

if TYPE_CHECKING:
    import ibis
    import pyarrow as pa

_CODE = "GM-P131"

_REFUSED: dict[str, str] = {
    "now": "read the run's instant from a parameter",
    "today": "read the run's instant from a parameter",
    "current_date": "read the run's instant from a parameter",
    "current_time": "read the run's instant from a parameter",
    "current_timestamp": "read the run's instant from a parameter",
    "get_current_timestamp": "read the run's instant from a parameter",
    "get_current_time": "read the run's instant from a parameter",
    "transaction_timestamp": "read the run's instant from a parameter",
    "localtime": "read the run's instant from a parameter",
    "localtimestamp": "read the run's instant from a parameter",
    "current_localtime": "read the run's instant from a parameter",
    "current_localtimestamp": "read the run's instant from a parameter",
    "ago": "subtract the interval from the run's instant, a parameter",
    "pg_conf_load_time": "read the run's instant from a parameter",
    "pg_postmaster_start_time": "read the run's instant from a parameter",
    "rand": "derive it from md5 of the key",
    "random": "derive it from md5 of the key",
    "setseed": "derive it from md5 of the key",
    "uuid": "use md5 of the columns that name a row",
    "gen_random_uuid": "use md5 of the columns that name a row",
    "uuidv4": "use md5 of the columns that name a row",
    "uuidv7": "use md5 of the columns that name a row",
    "hash": "use md5 of the columns",
    "any_value": "use min() or max()",
    "arbitrary": "use min() or max()",
    "approx_count_distinct": "use count(DISTINCT ...)",
    "approx_distinct": "use count(DISTINCT ...)",
    "approx_quantile": "use quantile_cont(...)",
    "approx_top_k": "count, rank and filter",
    "reservoir_quantile": "use quantile_cont(...)",
    "nextval": "use row_number() OVER (ORDER BY a key)",
    "currval": "use row_number() OVER (ORDER BY a key)",
    "getvariable": "write the value, or pass a parameter",
    "current_setting": "write the value, or pass a parameter",
    "getenv": "pass a parameter",
    "version": "leave it out",
    "txid_current": "leave it out",
    "current_query": "leave it out",
    "current_query_id": "leave it out",
    "current_connection_id": "leave it out",
    "current_transaction_id": "leave it out",
    "stats": "leave it out",
    "vector_type": "leave it out",
    "write_log": "leave it out",
    "setval": "use row_number() OVER (ORDER BY a key)",
    "query": "name the table in `reads`",
    "query_table": "name the table in `reads`",
}
_OUTSIDE = {"getvariable", "current_setting", "getenv", "query", "query_table", "nextval", "currval", "setseed"}
_ORDERED = {"first", "last", "list", "array_agg", "string_agg", "group_concat", "listagg", "arg_max_null"}
_POSITIONAL = {"row_number", "lag", "lead", "ntile", "nth_value", "first_value", "last_value"}
_TABLE_FUNCTIONS = {"unnest", "explode", "generate_series", "range"}
_FLOATS = (sge.DataType.Type.DOUBLE, sge.DataType.Type.FLOAT)
_INTEGERS = tuple(sge.DataType.INTEGER_TYPES)


class SqlDefinition(msgspec.Struct, frozen=True):
    """One checked SELECT.

    Args:
        sql: the text to run, under our semantics, with inputs as single quoted identifiers.
        inputs: dotted names of the tables that it reads, sorted.
        columns: names of the result's columns.
        schema: the result's Arrow schema.
        notes: what stays as the engine has it, in words.
        expression: the same as relations, which can follow changes; None where it is computed in full.
        in_full: why it is computed in full.
    """

    sql: str
    inputs: tuple[str, ...]
    columns: tuple[str, ...]
    schema: pa.Schema
    notes: tuple[str, ...] = ()
    expression: ibis.Table | None = None
    in_full: str = ""


class Typed(msgspec.Struct, frozen=True):
    """A query with every column qualified and every type known, before our semantics are written into it.

    Args:
        tree: the query.
        holders: the input that each table name in it stands for.
    """

    tree: sge.Query
    holders: dict[str, str]


def parse_select(text: str) -> sge.Query:
    """Return the one SELECT that the text is.

    Raises:
        DefinitionError: it does not parse, or is something else, or more than one.
    """
    try:
        parsed = [tree for tree in sg.parse(text, dialect="duckdb") if tree is not None]
    except SqlglotError as error:
        raise DefinitionError(f"the SQL does not parse: {str(error).splitlines()[0]}", code=_CODE) from error
    if len(parsed) != 1 or not isinstance(parsed[0], sge.Query):
        raise DefinitionError("a SQL definition is exactly one SELECT", code=_CODE, hint="WITH ... SELECT is fine")
    return parsed[0]


def inputs_of(tree: sge.Query, known: Mapping[str, object]) -> dict[str, list[sge.Table]]:
    """Return the places of each input table, by dotted name.

    Raises:
        DefinitionError: a name is not known, or rows come from a file or a function.
    """
    found: dict[str, list[sge.Table]] = {}
    for table in tree.find_all(sge.Table):
        if not isinstance(table.this, sge.Identifier):
            _refuse_table_function(table.this)
            continue
        name = ".".join(part.name for part in table.parts)
        if len(table.parts) == 1 and name.lower() in _ctes_above(table):
            continue
        if name not in known:
            hint = did_you_mean(name, list(known)) or "list it in `reads`; files are landed with a source"
            raise DefinitionError(f"the SQL reads `{name}`, which is no input", code=_CODE, hint=hint)
        found.setdefault(name, []).append(table)
    return dict(sorted(found.items()))


def named_tables(text: str) -> list[str]:
    """Return the dotted names of the tables that a SELECT reads, sorted, known or not.

    >>> named_tables('with a as (select 1) select * from a join raw.flights using (x)')
    ['raw.flights']
    """
    tables = [table for table in parse_select(text).find_all(sge.Table) if isinstance(table.this, sge.Identifier)]
    named = {".".join(part.name for part in table.parts): table for table in tables}
    return sorted(
        name for name, table in named.items() if len(table.parts) > 1 or name.lower() not in _ctes_above(table)
    )


def _ctes_above(table: sge.Expression) -> set[str]:
    names: set[str] = set()
    node: sge.Expression | None = table
    while node is not None:
        names |= {cte.alias.lower() for cte in getattr(node, "ctes", ())}
        node = node.parent
    return names


def _refuse_table_function(call: sge.Expression) -> None:
    name = _name(call)
    if name not in _TABLE_FUNCTIONS:
        raise DefinitionError(
            f"the SQL takes rows from `{name}(...)`",
            code=_CODE,
            hint="land files with a source and read that table, so that versions and lineage hold",
        )


def _name(call: sge.Expression) -> str:
    if isinstance(call, sge.Anonymous):
        return str(call.name).lower()
    return str(call.sql_name() if isinstance(call, sge.Func) else type(call).__name__).lower()


def refuse_outside(tree: sge.Query) -> None:
    """Raise where the text reads what is no table: settings, variables of the process, text as a query.

    Raises:
        DefinitionError: with what to write instead.
    """
    for call in tree.find_all(sge.Func):
        if _name(call) in _OUTSIDE:
            raise DefinitionError(f"`{_name(call)}()` reads no table", code=_CODE, hint=_REFUSED[_name(call)])


def refuse_unstable(tree: sge.Query) -> None:
    """Raise where the text could give another answer on another run.

    Raises:
        DefinitionError: with what to write instead.
    """
    for call in tree.find_all(sge.Func):
        name = _name(call)
        if name == "age" and len(list(call.iter_expressions())) == 1:
            raise DefinitionError("`age()` of one moment is as of today", code=_CODE, hint="age(the other moment, ...)")
        if name in _REFUSED:
            raise DefinitionError(f"`{name}()` may change with every run", code=_CODE, hint=_REFUSED[name])
        if name in _ORDERED and not (call.find(sge.Order) or isinstance(call.this, sge.Order)):
            raise DefinitionError(
                f"`{name}()` depends on the order of rows", code=_CODE, hint=f"{name}(... ORDER BY ...)"
            )
    if tree.find(sge.TableSample):
        raise DefinitionError("a sample changes with every run", code=_CODE, hint="filter by md5 of the key")
    for part in tree.find_all(sge.Query):
        if (part.args.get("limit") or part.args.get("offset")) and not part.args.get("order"):
            raise DefinitionError(
                "LIMIT without ORDER BY depends on the layout of files",
                code=_CODE,
                hint="add ORDER BY with a key",
            )


def with_semantics(
    tree: sge.Query, inputs: Mapping[str, list[sge.Table]], schemas: Mapping[str, pa.Schema]
) -> tuple[str, list[str], Typed | None]:
    """Return the text under our semantics, notes on what could not be carried over, and the query with its types."""
    notes: list[str] = []
    bare: Typed | None = None
    holders = {f"gm_input_{i}": name for i, name in enumerate(inputs)}
    for holder, name in holders.items():
        for table in inputs[name]:
            alias = table.alias or name.rsplit(".", 1)[-1]
            new = sge.Table(this=sge.to_identifier(holder, quoted=True), alias=_alias(alias, table))
            table.replace(_keep(new, table))
    try:
        columns = {holder: _column_types(schemas[name]) for holder, name in holders.items()}
        schema = MappingSchema(columns, dialect=DIALECT, normalize=False)
        spelled = tree.copy()
        spell(spelled, [name for types in columns.values() for name in types])
        typed = annotate_types(qualify(spelled, schema=schema, dialect=DIALECT), schema=schema, dialect=DIALECT)
        keep_star_names(typed)
        bare = Typed(typed.copy(), holders)
        _total_orders(bare.tree)
        tree = rewritten(typed, notes)
        _total_orders(tree)
    except SqlglotError as error:
        notes.append(f"types could not be told ({str(error).splitlines()[0]}): sums and casts are the engine's")
        tree = rewritten(tree, notes)
    _positional(tree, notes)
    for table in tree.find_all(sge.Table):
        if table.name in holders:
            table.set("this", sge.to_identifier(holders[table.name], quoted=True))
    return str(tree.sql(dialect="duckdb")), list(dict.fromkeys(notes)), bare


def _alias(alias: str, table: sge.Table) -> sge.TableAlias:
    columns = table.args["alias"].args.get("columns") if table.args.get("alias") else None
    return sge.TableAlias(this=sge.to_identifier(alias, quoted=True), columns=columns)


def _keep(new: sge.Table, old: sge.Table) -> sge.Table:
    for key in ("joins", "pivots", "laterals"):
        if old.args.get(key):
            new.set(key, old.args[key])
    return new


def _column_types(schema: pa.Schema) -> dict[str, str]:
    from gristmill.algebra.arrow import from_arrow
    from gristmill.algebra.scalars import sql_type

    return {field.name: sql_type(from_arrow(field.type)) for field in schema}


def rewritten(tree: sge.Expression, notes: list[str]) -> sge.Expression:
    """Apply the rules of the semantics table that text allows."""
    rules: dict[type[sge.Expression], Callable[[sge.Expression, list[str]], sge.Expression]] = {
        sge.IntDiv: _floor_divide,
        sge.Mod: _modulo,
        sge.Cast: _cast,
        sge.TryCast: _cast,
        sge.Sum: _sum,
        sge.Avg: _sum,
        sge.Stddev: _engine,
        sge.StddevSamp: _engine,
        sge.StddevPop: _engine,
        sge.Variance: _engine,
        sge.VariancePop: _engine,
        sge.Corr: _engine,
        sge.CovarSamp: _engine,
        sge.CovarPop: _engine,
    }
    found = list(tree.find_all(*rules))
    for node in reversed(found):
        rule = rules.get(type(node))
        new = node if rule is None else rule(node, notes)
        if new is not node and node is tree:
            return new
        if new is not node:
            node.replace(new)
    return tree


def _total_orders(tree: sge.Query) -> None:
    """Let the columns of a result settle the ties of an order that a LIMIT cuts.

    Stars are expanded by now, so that every column has a number.
    """
    for part in tree.find_all(sge.Select):
        if (part.args.get("limit") or part.args.get("offset")) and part.args.get("order"):
            numbers = [sge.Ordered(this=sge.Literal.number(i)) for i in range(1, len(part.selects) + 1)]
            part.args["order"].set("expressions", [*part.args["order"].expressions, *numbers])


def _positional(tree: sge.Query, notes: list[str]) -> None:
    for window in tree.find_all(sge.Window):
        if _name(window.this) in _POSITIONAL:
            notes.append(f"`{window.sql(dialect='duckdb')}`: name a key last in its order, or ties may swap places")


def _text(node: sge.Expression) -> str:
    return f"({node.sql(dialect='duckdb')})"


def _known(node: sge.Expression) -> sge.DataType.Type | None:
    kind = node.type.this if node.type is not None else None
    return None if kind in (None, sge.DataType.Type.UNKNOWN, sge.DataType.Type.NULL) else kind


def _floor_divide(node: sge.Expression, notes: list[str]) -> sge.Expression:
    args = [_text(node.this), _text(node.expression)]
    return sge.Var(this=fill_text(FORMULAS["integer_floor_divide"], args))


def _modulo(node: sge.Expression, notes: list[str]) -> sge.Expression:
    args = [_text(node.this), _text(node.expression)]
    return sge.Var(this=fill_text(FORMULAS["integer_modulo"], args))


def _cast(node: sge.Expression, notes: list[str]) -> sge.Expression:
    source, target = _known(node.this), node.args["to"].this
    if target not in _INTEGERS:
        return node
    if source is None:
        notes.append(f"`{node.sql(dialect='duckdb')}` rounds where the type of its argument is a float or text")
        return node
    if source in _FLOATS or source == sge.DataType.Type.DECIMAL:
        word = node.args["to"].sql(dialect="duckdb")
        rule = "float_to_integer_try" if isinstance(node, sge.TryCast) else "float_to_integer"
        return sge.Var(this=fill_text(FORMULAS[rule], [_text(node.this)], (word,)))
    return node


def _sum(node: sge.Expression, notes: list[str]) -> sge.Expression:
    """Give sums and means of floats their exact form, with the filter and the window that they stand in."""
    source = _known(node.this)
    if isinstance(node.this, sge.Distinct):
        source = None
    if source is None or source in _FLOATS:
        outer = node.parent
        plain = not isinstance(outer, sge.Filter | sge.Window | sge.IgnoreNulls)
        if source in _FLOATS and plain:
            return _exact(node)
        notes.append(f"`{node.sql(dialect='duckdb')}` over floats is the engine's own: its last bits may change")
    return node


def _exact(node: sge.Expression) -> sge.Expression:
    x = f"CAST({node.this.sql(dialect='duckdb')} AS DOUBLE)"
    high, low, flag = (fill_text(FORMULAS[f"limb_{part}"], [x]) for part in ("high", "low", "flag"))
    sums = [f"sum({high})", f"sum({low})", f"list({x}) FILTER ({flag} AND {x} IS NOT NULL)"]
    total = fill_text(FORMULAS["exact_sum"], sums)
    return sge.Var(this=total if isinstance(node, sge.Sum) else f"({total} / count({x}))")


def _engine(node: sge.Expression, notes: list[str]) -> sge.Expression:
    notes.append(f"`{node.sql(dialect='duckdb')}` is the engine's own: its last bits may change")
    return node
