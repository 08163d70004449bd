"""The SQL of an as-of join: right rows made unique per moment first, then DuckDB's own ASOF join."""

from __future__ import annotations

from gristmill.algebra.nodes import AsofJoin


def asof_select(node: AsofJoin, left: str, right: str) -> str:
    """Return a SELECT that yields every row of ``left`` once.

    Args:
        node: the join.
        left, right: what may stand after FROM for the two sides.
    """
    columns = [f"l.{_q(name)} AS {_q(name)}" for name in node.left.schema.names]
    sides = {"backward": ["b"], "forward": ["f"], "nearest": ["b", "f"]}[node.direction]
    columns += [f"{_picked(node, sides, source)} AS {_q(name)}" for name, source in node.picks]
    joins = " ".join(_join(node, side) for side in sides)
    return f"WITH u AS ({_unique(node, right)}) SELECT {', '.join(columns)} FROM {left} AS l {joins}"


def _q(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def _unique(node: AsofJoin, right: str) -> str:
    """Return the right rows, one per ``by`` and moment: the greatest by the order that settles ties."""
    keys = ", ".join(_q(name) for name in (*(other for _, other in node.by), node.on[1]))
    needed = dict.fromkeys([*(source for _, source in node.picks), *(other for _, other in node.by), node.on[1]])
    order = ", ".join(f"{_q(name)} DESC NULLS LAST" for name in node.ties) or "1"
    rank = f"row_number() OVER (PARTITION BY {keys} ORDER BY {order})"
    return f"SELECT {', '.join(map(_q, needed))} FROM {right} QUALIFY {rank} = 1"


def _join(node: AsofJoin, side: str) -> str:
    sign = ">=" if side == "b" else "<="
    equal = [f"l.{_q(name)} = {side}.{_q(other)}" for name, other in node.by]
    moment = f"l.{_q(node.on[0])} {sign} {side}.{_q(node.on[1])}"
    return f"ASOF LEFT JOIN u AS {side} ON {' AND '.join([*equal, moment])}"


def _distance(node: AsofJoin, side: str) -> str:
    """Return how far a match is from its left row: microseconds for times, else the column's units."""
    left, right = f"l.{_q(node.on[0])}", f"{side}.{_q(node.on[1])}"
    dtype = node.left.schema[node.on[0]]
    if dtype.is_timestamp():
        left, right = f"epoch_us({left})", f"epoch_us({right})"
    elif dtype.is_date():
        left, right = f"epoch_us(CAST({left} AS TIMESTAMP))", f"epoch_us(CAST({right} AS TIMESTAMP))"
    return f"({left} - {right})" if side == "b" else f"({right} - {left})"


def _picked(node: AsofJoin, sides: list[str], source: str) -> str:
    limit = "" if node.within is None else f" <= {node.within}"
    if len(sides) == 1:
        value = f"{sides[0]}.{_q(source)}"
        return f"CASE WHEN {_distance(node, sides[0])}{limit} THEN {value} END" if limit else value
    back, forth = _distance(node, "b"), _distance(node, "f")
    near = [f"{back} IS NOT NULL AND ({forth} IS NULL OR {back} <= {forth})", f"{forth} IS NOT NULL"]
    bounds = [f" AND {distance}{limit}" if limit else "" for distance in (back, forth)]
    return (
        f"CASE WHEN {near[0]} THEN CASE WHEN TRUE{bounds[0]} THEN b.{_q(source)} END "
        f"WHEN {near[1]}{bounds[1]} THEN f.{_q(source)} END"
    )
