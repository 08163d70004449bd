"""Rules that one figure of the whole table decides: the aggregate in SQL, and the bounds it must keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from gristmill.contracts.row_kinds import ROW_KINDS
from gristmill.contracts.rule_options import seconds
from gristmill.contracts.sqltext import Types, listed, number, quote, range_words, value
from gristmill.model.rules import Rule


class FigureKind(NamedTuple):
    """A kind that one figure decides: ``figure`` gives an aggregate in SQL."""

    figure: Callable[[Rule, Types], str]
    expected: Callable[[Rule], str]


_FIGURES = {
    "mean": "avg({c})",
    "sum": "sum({c})",
    "min": "min({c})",
    "max": "max({c})",
    "stddev": "stddev_samp({c})",
    "median": "median({c})",
    "distinct": "count(DISTINCT {c})",
    "distinct_share": "count(DISTINCT {c}) / nullif(count({c}), 0)",
    "null_share": "1 - count({c}) / nullif(count(*), 0)",
    "nulls": "count(*) - count({c})",
}


def _statistic(rule: Rule, types: Types) -> str:
    filtered = f" FILTER (WHERE {rule.where})" if rule.where else ""
    template = _FIGURES[str(rule.parameters["statistic"])]
    if filtered:
        template = template.replace("({c})", "({c})" + filtered).replace("count(*)", "count(*)" + filtered)
        template = template.replace("count(DISTINCT {c})", "count(DISTINCT {c})" + filtered)
    return template.format(c=value(rule.columns[0], types))


def _quantile(rule: Rule, types: Types) -> str:
    return f"quantile_cont({value(rule.columns[0], types)}, {rule.parameters['q']})" + _filter(rule)


def _filter(rule: Rule) -> str:
    return f" FILTER (WHERE {rule.where})" if rule.where else ""


def _count(rule: Rule, types: Types) -> str:
    return "count(*)" + _filter(rule)


def _fresh(rule: Rule, types: Types) -> str:
    latest = f"max({quote(rule.columns[0])}){_filter(rule)}"
    return f"(getvariable('gristmill_run_us') - epoch_us({latest})) / 1e6"


METRICS = {
    "nullValues": "not_null",
    "missingValues": "not_missing",
    "invalidValues": "one_of",
    "duplicateValues": "unique",
}
"""ODCS library metrics, and the row rule whose breaches each one counts."""


def _metric(rule: Rule, types: Types) -> str:
    """Count the rows that break a row rule, or their share in percent."""
    filtered = _filter(rule)
    if rule.parameters["metric"] == "duplicateValues":
        own = ", ".join(value(name, types) for name in rule.columns)
        whole = " AND ".join(f"{value(name, types)} IS NOT NULL" for name in rule.columns)
        condition = f"{whole} AND ({rule.where})" if rule.where else whole
        counted = f"count(*) FILTER (WHERE {condition}) - count(DISTINCT ({own})) FILTER (WHERE {condition})"
    else:
        bad = f"coalesce({metric_breach(rule, types)}, FALSE)"
        counted = f"count(*) FILTER (WHERE {f'({rule.where}) AND ' if rule.where else ''}{bad})"
    if rule.parameters.get("unit") == "percent":
        return f"100.0 * ({counted}) / nullif(count(*){filtered}, 0)"
    return counted


def metric_breach(rule: Rule, types: Types) -> str:
    """Return SQL that is true for a row that a library metric counts."""
    if rule.parameters["metric"] != "invalidValues":
        return ROW_KINDS[METRICS[str(rule.parameters["metric"])]].bad(rule, types)
    parts = []
    if "values" in rule.parameters:
        parts.append(ROW_KINDS["one_of"].bad(rule, types))
    if "pattern" in rule.parameters:
        parts.append(ROW_KINDS["matches"].bad(rule, types))
    return " OR ".join(f"coalesce({part}, FALSE)" for part in parts) or "FALSE"


def _metric_words(rule: Rule) -> str:
    unit = " percent" if rule.parameters.get("unit") == "percent" else ""
    return range_words(rule, f"{rule.parameters['metric']} of {', '.join(rule.columns)}") + unit


def breaks(rule: Rule, observed: float) -> bool:
    """Whether a figure lies outside the rule's bounds."""
    if rule.kind == "fresh":
        return observed > seconds(str(rule.parameters["within"]))
    low, high, above, below, equal, unequal = (
        number(rule, key) for key in ("low", "high", "above", "below", "equal", "unequal")
    )
    outside = listed(rule, "outside")
    return (
        (low is not None and observed < low)
        or (high is not None and observed > high)
        or (above is not None and observed <= above)
        or (below is not None and observed >= below)
        or (equal is not None and observed != equal)
        or (unequal is not None and observed == unequal)
        or (len(outside) == 2 and float(outside[0] or 0) <= observed <= float(outside[1] or 0))
    )


FIGURE_KINDS: Mapping[str, FigureKind] = {
    "row_count": FigureKind(_count, lambda rule: range_words(rule, "rows")),
    "statistic": FigureKind(
        _statistic, lambda rule: range_words(rule, f"{rule.parameters['statistic']}({rule.columns[0]})")
    ),
    "quantile": FigureKind(
        _quantile, lambda rule: range_words(rule, f"quantile({rule.columns[0]}, {rule.parameters['q']})")
    ),
    "metric": FigureKind(_metric, _metric_words),
    "fresh": FigureKind(_fresh, lambda rule: f"latest {rule.columns[0]} at most {rule.parameters['within']} old"),
}
