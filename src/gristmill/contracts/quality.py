"""Compile the entries under ``quality``: library metrics, SQL, our own rules; others are named, never passed over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gristmill.contracts import rules
from gristmill.contracts.patterns import translate
from gristmill.contracts.queries import check_condition, fill, tables_in
from gristmill.contracts.rule_options import Options, Value
from gristmill.contracts.spots import Spot, custom
from gristmill.contracts.sqltext import quote
from gristmill.errors import DefinitionError, did_you_mean
from gristmill.model.rules import Rule, Scalar

_OPERATORS = {
    "mustBe": "equal",
    "mustNotBe": "unequal",
    "mustBeGreaterThan": "above",
    "mustBeGreaterOrEqualTo": "low",
    "mustBeGreaterThanOrEqualTo": "low",
    "mustBeLessThan": "below",
    "mustBeLessOrEqualTo": "high",
    "mustBeLessThanOrEqualTo": "high",
}

_METRICS = {
    "nullvalues": "nullValues", "nullcheck": "nullValues", "nullcount": "nullValues", "notnull": "nullValues",
    "missingvalues": "missingValues", "missingcount": "missingValues",
    "invalidvalues": "invalidValues", "validvalues": "invalidValues", "invalidcount": "invalidValues",
    "duplicatevalues": "duplicateValues", "duplicatecount": "duplicateValues", "unique": "duplicateValues",
    "uniquecheck": "duplicateValues",
    "rowcount": "rowCount", "countcheck": "rowCount",
}  # fmt: skip
"""Library metrics by their names in lower case, the deprecated ones of version 3.0 among them."""

_DIMENSIONS = {
    "accuracy": "accuracy", "completeness": "completeness", "conformity": "consistency", "consistency": "consistency",
    "coverage": "completeness", "timeliness": "freshness", "uniqueness": "uniqueness",
}  # fmt: skip


def quality_rules(spot: Spot, notes: list[str], *, table: Sequence[str], column: str | None) -> Iterator[Rule]:
    """Yield the rules under ``quality`` of a table or a column.

    Args:
        spot: the table or column.
        notes: takes what cannot be checked here.
        table: names by which SQL may call the table.
        column: the column, or None for the table.

    Raises DefinitionError with file and line where an entry makes no sense.
    """
    for item in spot.each("quality"):
        for rule in _entry(item, notes, table, column):
            yield _dressed(rule, item)


def _dressed(rule: Rule, item: Spot) -> Rule:
    import msgspec

    dimension = _DIMENSIONS.get(str(item.value.get("dimension") or ""), rule.dimension)
    because = rule.because or str(item.value.get("description") or "") or None
    name = rule.name or str(item.value.get("id") or "")
    return msgspec.structs.replace(rule, dimension=dimension, because=because, name=name)


def _entry(item: Spot, notes: list[str], table: Sequence[str], column: str | None) -> Iterator[Rule]:
    value = item.value
    kind = str(value.get("type") or "library")
    if kind == "text":
        notes.append(f"line {item.line()}: for people: {value.get('description') or value.get('name') or 'text'}")
    elif kind == "sql":
        yield _sql(item, table, column)
    elif kind == "custom" and value.get("engine") == "gristmill":
        yield _own(item, column)
    elif kind == "custom":
        yield _foreign(item, column, f"it is for the engine {value.get('engine')}")
    else:
        yield from _metric(item, column)


def _foreign(item: Spot, column: str | None, note: str) -> Rule:
    """A rule that only something else can check: it is never a pass, and never stops a run either."""
    options: Options = {**item.options(), "on_fail": "warn"}
    name = str(item.value.get("name") or item.value.get("metric") or item.value.get("rule") or "custom")
    kind = f"{item.value.get('engine') or 'library'} {name}"
    return Rule(kind=kind, columns=(column,) if column else (), scope="table", parameters={"note": note}, **options)


def operator_bounds(item: Spot) -> dict[str, Value]:
    """Return the bounds that ``mustBe`` and its kin give.

    >>> from gristmill.contracts.located import read_yaml
    >>> operator_bounds(Spot(read_yaml("mustBeBetween: [1, 5]", "f"), (), None, (3, 1)))
    {'low': 1, 'high': 5}
    """
    found: dict[str, Value] = {}
    for key, bound in _OPERATORS.items():
        given = item.value.get(key)
        if isinstance(given, str | int | float):
            found[bound] = given
    pair = item.value.get("mustBeBetween")
    if isinstance(pair, list):
        found |= {"low": pair[0], "high": pair[1]}
    pair = item.value.get("mustNotBeBetween")
    if isinstance(pair, list):
        found["outside"] = list(pair)
    return found


def _sql(item: Spot, table: Sequence[str], column: str | None) -> Rule:
    found = operator_bounds(item)
    text = fill(str(item.value.get("query") or ""), column=quote(column) if column else None)
    try:
        tables_in(text)
    except DefinitionError as error:
        raise item.error(error.message, hint=error.hint, keys=("query",)) from error
    if not found:
        return _foreign(item, column, "it says not what the value must be")
    parameters: dict[str, Value] = {"sql": text, "alias": [*table], **found}
    options = item.options(rows=False, name=f"query:{column or table[0]}")
    return Rule(kind="query", scope="aggregate", parameters=parameters, **options)


def _metric(item: Spot, column: str | None) -> Iterator[Rule]:
    value = item.value
    given = str(value.get("metric") or value.get("rule") or "")
    metric = _METRICS.get(given.lower())
    if metric is None:
        yield _foreign(item, column, f"the standard has no metric `{given}`")
        return
    arguments = value.get("arguments")
    arguments = arguments if isinstance(arguments, dict) else {}
    bounds = operator_bounds(item)
    if metric == "rowCount":
        if not bounds:
            raise item.error("rowCount needs one of mustBe, mustBeGreaterThan, ...")
        parameters: dict[str, Value] = {**bounds}
        yield Rule(kind="row_count", scope="aggregate", parameters=parameters, **item.options(rows=False))
        return
    names = [str(name).split(".")[-1] for name in arguments.get("properties") or ([column] if column else [])]
    if not names:
        raise item.error(f"{metric} needs a column", hint="arguments: {properties: [...]}")
    rows = _row_rules(item, metric, names, arguments)
    tolerance = _tolerance(bounds or {"equal": 0}, percent=str(value.get("unit") or "") == "percent")
    if tolerance is not None:
        import msgspec

        for rule in rows:
            yield msgspec.structs.replace(rule, tolerance=tolerance or None)
        return
    yield _counted(item, metric, names, rows, bounds)


def _tolerance(bounds: Mapping[str, Value], *, percent: bool) -> float | None:
    """Return how many rows may break a row rule where the bounds say just that, else None."""
    if len(bounds) != 1:
        return None
    ((key, limit),) = bounds.items()
    if not isinstance(limit, int | float) or isinstance(limit, bool):
        return None
    if limit == 0 and key in ("equal", "high"):
        return 0
    if percent:
        return limit / 100 if key == "high" and 0 <= limit < 100 else None
    if key == "high" and limit >= 1:
        return float(limit)
    return float(limit - 1) if key == "below" and isinstance(limit, int) and limit >= 1 else None


def _row_rules(item: Spot, metric: str, names: Sequence[str], arguments: Mapping[str, object]) -> list[Rule]:
    options = item.options()
    if metric == "nullValues":
        return [rules.not_null(name, **options) for name in names]
    if metric == "missingValues":
        words = _scalars(arguments.get("missingValues"))
        nulls = "missingValues" not in arguments or None in words
        return [rules.not_missing(name, words, nulls=nulls, **options) for name in names]
    if metric == "duplicateValues":
        keep = custom(item.value, "keepDuplicates")
        return [item.checked(lambda: rules.unique(*names, keep=keep, **options))]  # type: ignore[arg-type]
    valid = arguments.get("validValues", item.value.get("validValues"))
    found = [rules.one_of(name, _scalars(valid), **options) for name in names if isinstance(valid, list)]
    pattern = arguments.get("pattern", item.value.get("pattern"))
    if pattern:
        found += [item.checked(lambda name=name: rules.matches(name, str(pattern), **options)) for name in names]  # type: ignore[misc]
    if not found:
        raise item.error("invalidValues needs validValues or pattern under arguments")
    return found


def _scalars(value: object) -> list[Scalar]:
    listed = value if isinstance(value, list) else []
    return [item for item in listed if isinstance(item, str | int | float | bool) or item is None]


def _counted(item: Spot, metric: str, names: Sequence[str], rows: Sequence[Rule], bounds: Mapping[str, Value]) -> Rule:
    parameters: dict[str, Value] = {"metric": metric, **bounds}
    for rule in rows:
        parameters |= {key: rule.parameters[key] for key in ("values", "nulls", "pattern") if key in rule.parameters}
    if item.value.get("unit") == "percent":
        parameters["unit"] = "percent"
    if "pattern" in parameters:
        parameters["pattern"] = translate(str(parameters["pattern"]))
    options = item.options(rows=False, name=f"{metric}:{':'.join(names)}")
    return Rule(kind="metric", columns=tuple(names), scope="aggregate", parameters=parameters, **options)


_KINDS = {
    name: getattr(rules, name)
    for name in (
        "between", "castable", "columns", "compare", "complete", "condition", "decimals", "distinct", "format",
        "fresh", "has_type", "items", "length", "like", "matches", "monotone", "multiple_of", "not_in", "not_matches",
        "not_missing", "not_null", "null_together", "one_of", "quantile", "query", "references", "row_count",
        "statistic", "sum_equal", "unique",
    )
}  # fmt: skip
_SEVERAL = {"not_null": "columns", "null_together": "columns", "unique": "columns"}


def _own(item: Spot, column: str | None) -> Rule:
    """Compile ``engine: gristmill``: the rule's name under ``rule``, its arguments beside it, as in ``gm.rules``."""
    given = item.value.get("implementation")
    if isinstance(given, str):
        from gristmill.contracts.located import read_yaml

        given = read_yaml(given, f"{item.document.file}:{item.line(('implementation',))}").value
    if not isinstance(given, dict) or "rule" not in given:
        raise item.error("implementation needs a `rule`", hint=f"one of {', '.join(_KINDS)}", keys=("implementation",))
    arguments = {str(key): value for key, value in given.items() if key != "rule"}
    kind = str(given["rule"])
    if kind not in _KINDS:
        hint = did_you_mean(kind, list(_KINDS)) or f"one of {', '.join(_KINDS)}"
        raise item.error(f"gristmill knows no rule `{kind}`", hint=hint, keys=("implementation",))
    for key in ("where", "sql") if kind == "condition" else ("where",):
        if key in arguments:
            item.checked(lambda key=key: check_condition(str(arguments[key])), "implementation")  # type: ignore[misc]
    options = item.options(rows="on_fail" not in arguments)
    for key, option in options.items():
        arguments.setdefault(key, option)
    positional = [arguments.pop(name) for name in _SEVERAL.values() if kind in _SEVERAL and name in arguments]
    if kind in _SEVERAL:
        names = positional[0] if positional else [column] if column else []
        positional = list(names) if isinstance(names, list) else [names]
    elif column and not {"column", "columns", "left"} & arguments.keys() and kind not in _TABLE_WIDE:
        positional = [column]
    return item.checked(lambda: _called(kind, positional, arguments), "implementation")


_TABLE_WIDE = ("columns", "condition", "query", "row_count", "sum_equal")


def _called(kind: str, positional: Sequence[object], arguments: Mapping[str, object]) -> Rule:
    try:
        made = _KINDS[kind](*positional, **arguments)
    except TypeError as error:
        words = str(error).replace("()", "")
        raise DefinitionError(f"the rule is not complete: {words}", code="GM-C024") from error
    assert isinstance(made, Rule)
    return made
