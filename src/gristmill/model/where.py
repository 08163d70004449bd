"""Conditions as people write them: text in SQL, and pyarrow expressions."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING

from gristmill.errors import UsageError, did_you_mean
from gristmill.model import predicates as p

if TYPE_CHECKING:
    import pyarrow.compute as pc
    from sqlglot import exp

_FLIPPED: dict[str, p.Operator] = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "!=": "!="}


def parse_where(text: str, columns: Collection[str]) -> p.Predicate:
    """Return the predicate that a condition in SQL means.

    Args:
        text: such as ``carrier in ('UA', 'AA') and dep_delay > 15``.
        columns: the columns there are.

    Raises:
        UsageError: not SQL, an unknown column, or a part that a predicate cannot say; names that part.

    >>> parse_where("a >= 3 and b is not null", ["a", "b"])
    And(parts=(Compare(column='a', op='>=', value=3), IsNull(column='b', negated=True)))
    """
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        tree = sqlglot.parse_one(f"SELECT 1 WHERE {text}", dialect="duckdb")
    except SqlglotError as error:
        raise UsageError(
            f"the condition {text!r} is not SQL: {str(error).splitlines()[0]}",
            code="GM-U020",
            hint="write for example `carrier = 'UA' and dep_delay > 15`",
        ) from error
    where = tree.args.get("where")
    if where is None or {key for key, value in tree.args.items() if value} - {"expressions", "where", "kind"}:
        raise UsageError(f"{text!r} is more than a condition", code="GM-U020")
    return _Sql(columns).predicate(where.this)


class _Sql:
    """Turns a parsed condition into a predicate over known columns."""

    def __init__(self, columns: Collection[str]) -> None:
        self._columns = list(columns)
        self._lower = {name.lower(): name for name in self._columns}

    def predicate(self, node: exp.Expression) -> p.Predicate:
        from sqlglot import exp

        if isinstance(node, exp.Paren):
            return self.predicate(node.this)
        if isinstance(node, exp.And | exp.Or):
            parts = tuple(self.predicate(part) for part in node.flatten())
            return p.And(parts) if isinstance(node, exp.And) else p.Or(parts)
        if isinstance(node, exp.Not):
            return self._not(self.predicate(node.this))
        if isinstance(node, exp.Boolean):
            return p.Always(bool(node.this))
        if isinstance(node, exp.Column):
            return p.Compare(self._column(node), "=", True)
        return self._test(node)

    def _not(self, part: p.Predicate) -> p.Predicate:
        if isinstance(part, p.IsNull | p.In):
            return p.positive(p.Not(part))
        return p.Not(part)

    def _test(self, node: exp.Expression) -> p.Predicate:
        from sqlglot import exp

        if isinstance(node, exp.Is) and isinstance(node.expression, exp.Null):
            return p.IsNull(self._column(node.this))
        if isinstance(node, exp.In) and node.expressions:
            return p.In(self._column(node.this), tuple(self._value(value) for value in node.expressions))
        if isinstance(node, exp.Between):
            column = self._column(node.this)
            low, high = self._value(node.args["low"]), self._value(node.args["high"])
            return p.And((p.Compare(column, ">=", low), p.Compare(column, "<=", high)))
        for kind, op in _operators():
            if isinstance(node, kind):
                return self._compare(node, op)
        raise self._unsupported(node)

    def _compare(self, node: exp.Expression, op: p.Operator) -> p.Predicate:
        from sqlglot import exp

        left, right = node.this, node.expression
        if isinstance(left, exp.Column):
            return p.Compare(self._column(left), op, self._value(right))
        if not isinstance(right, exp.Column):
            raise self._unsupported(node)
        return p.Compare(self._column(right), _FLIPPED[op], self._value(left))

    def _column(self, node: exp.Expression) -> str:
        from sqlglot import exp

        if not isinstance(node, exp.Column) or node.args.get("table"):
            raise self._unsupported(node)
        name = node.name if node.name in self._columns else self._lower.get(node.name.lower())
        if name is None:
            raise UsageError(
                f"there is no column `{node.name}`",
                code="GM-S101",
                hint=did_you_mean(node.name, self._columns) or f"columns are {', '.join(self._columns[:20])}",
            )
        return name

    def _value(self, node: exp.Expression) -> p.Value:
        from sqlglot import exp

        if isinstance(node, exp.Paren):
            return self._value(node.this)
        if isinstance(node, exp.Neg):
            value = self._value(node.this)
            if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
                return -value
        if isinstance(node, exp.Boolean):
            return bool(node.this)
        if isinstance(node, exp.Literal):
            return str(node.this) if node.is_string else _number(str(node.this))
        if isinstance(node, exp.Cast) and isinstance(node.this, exp.Literal):
            return self._cast(node, str(node.this.this))
        raise self._unsupported(node)

    def _cast(self, node: exp.Cast, text: str) -> p.Value:
        kind = node.to.sql(dialect="duckdb").upper()
        try:
            if kind == "DATE":
                return date.fromisoformat(text)
            if kind.startswith("TIMESTAMP"):
                return datetime.fromisoformat(text)
            if kind == "TIME":
                return time.fromisoformat(text)
            if kind in ("TEXT", "VARCHAR"):
                return text
            if kind in ("INT", "BIGINT", "SMALLINT", "TINYINT"):
                return int(text)
            if kind in ("DOUBLE", "REAL", "FLOAT"):
                return float(text)
        except ValueError as error:
            raise UsageError(f"{text!r} is not a {kind.lower()}", code="GM-U020") from error
        raise self._unsupported(node)

    def _unsupported(self, node: exp.Expression) -> UsageError:
        return UsageError(
            f"`{node.sql(dialect='duckdb')}` is more than a condition here can say",
            code="GM-U021",
            hint="compare columns with values, with and, or, not, in, between, is null; use `sql` for the rest",
        )


def _operators() -> tuple[tuple[type[exp.Expression], p.Operator], ...]:
    from sqlglot import exp

    return (
        (exp.EQ, "="),
        (exp.NEQ, "!="),
        (exp.LTE, "<="),
        (exp.LT, "<"),
        (exp.GTE, ">="),
        (exp.GT, ">"),
    )


def _number(text: str) -> int | float | Decimal:
    if re.fullmatch(r"\d+", text):
        return int(text)
    return Decimal(text) if re.fullmatch(r"\d*\.\d+|\d+\.", text) else float(text)


def from_pyarrow(expression: pc.Expression, *, binary: Collection[str] = ()) -> p.Predicate:
    """Return the predicate that a pyarrow expression means.

    Args:
        expression: the expression.
        binary: columns that hold bytes; pyarrow shows bytes as it shows text, so values for them are refused.

    Raises:
        UsageError: a part that a predicate cannot say; names it.
    """
    text = str(expression)
    reader = _Arrow(text, binary)
    predicate = reader.predicate()
    if reader.rest:
        raise reader.unsupported()
    return predicate


class _Arrow:
    """Reads the text form of a pyarrow expression, which is the only form in which it can be looked into."""

    def __init__(self, text: str, binary: Collection[str]) -> None:
        self.text = text
        self.binary = binary
        self.rest = text.strip()

    def unsupported(self) -> UsageError:
        return UsageError(
            f"the expression {self.text} cannot be used as a condition",
            code="GM-U021",
            hint="compare fields with values, with &, |, ~, isin and is_null; or write the condition as text",
        )

    def _take(self, pattern: str) -> re.Match[str] | None:
        match = re.compile(r"\s*" + pattern).match(self.rest)
        if match:
            self.rest = self.rest[match.end() :]
        return match

    def _need(self, pattern: str) -> re.Match[str]:
        match = self._take(pattern)
        if match is None:
            raise self.unsupported()
        return match

    def predicate(self) -> p.Predicate:
        if self._take(r"invert\("):
            part = self.predicate()
            self._need(r"\)")
            return p.positive(p.Not(part)) if isinstance(part, p.IsNull | p.In) else p.Not(part)
        if self._take(r"is_null\("):
            return self._is_null()
        if self._take(r"is_valid\("):
            column = self._name()
            self._need(r"\)")
            return p.IsNull(column, negated=True)
        if self._take(r"is_in\("):
            return self._is_in()
        if match := self._take(r"(true|false)\b"):
            return p.Always(match[1] == "true")
        if self._take(r"\("):
            return self._group()
        return p.Compare(self._name(), "=", True)

    def _is_null(self) -> p.Predicate:
        column = self._name()
        options = self._take(r", \{nan_is_null=(true|false)\}")
        self._need(r"\)")
        if options is not None and options[1] == "true":
            return p.Or((p.IsNull(column), p.Compare(column, "=", float("nan"))))
        return p.IsNull(column)

    def _is_in(self) -> p.Predicate:
        column = self._name()
        kind = self._need(r", \{value_set=([\w\[\](), =]+?):\s*\[")[1]
        values: list[p.Value] = []
        if column in self.binary:
            raise self.unsupported()
        while not self._take(r"\]"):
            values.append(self._value(kind))
            self._take(",")
        self._need(r"[^}]*\}\)")
        return p.In(column, tuple(values))

    def _group(self) -> p.Predicate:
        if self.rest[:1] == "(" or re.match(r"\s*(invert|is_null|is_valid|is_in)\(", self.rest):
            left = self.predicate()
            word = self._need(r"(and|or)\b")[1]
            right = self.predicate()
            self._need(r"\)")
            return p.And((left, right)) if word == "and" else p.Or((left, right))
        return self._comparison()

    def _comparison(self) -> p.Predicate:
        name = self._name()
        if word := self._take(r"(and|or)\b"):
            left: p.Predicate = p.Compare(name, "=", True)
            right = self.predicate()
            self._need(r"\)")
            return p.And((left, right)) if word[1] == "and" else p.Or((left, right))
        if name in self.binary:
            raise self.unsupported()
        sign = self._need(r"(==|!=|<=|>=|<|>)")[1]
        value = self._value(None)
        self._need(r"\)")
        return p.Compare(name, "=" if sign == "==" else sign, value)  # type: ignore[arg-type]

    def _name(self) -> str:
        return self._need(r"([A-Za-z_]\w*)")[1]

    def _value(self, kind: str | None) -> p.Value:
        if match := self._take(r'"((?:[^"\\]|\\.)*)"'):
            return (
                match[1].encode("latin-1", "backslashreplace").decode("unicode_escape")
                if "\\" in match[1]
                else match[1]
            )
        if match := self._take(r"(true|false)\b"):
            return match[1] == "true"
        if match := self._take(r"(\d{4}-\d{2}-\d{2})(?:[ T](\d{2}:\d{2}:\d{2}(?:\.\d+)?)(Z)?)?"):
            if match[2] is None:
                return date.fromisoformat(match[1])
            moment = datetime.fromisoformat(f"{match[1]} {match[2][:15]}")
            return moment.replace(tzinfo=UTC) if match[3] else moment
        if match := self._take(r"(-?(?:inf|nan)|-?\d+(?:\.\d*)?(?:e[+-]?\d+)?)"):
            plain = re.fullmatch(r"-?\d+", match[1])
            whole = plain and (kind is None or "int" in kind)
            return int(match[1]) if whole else float(match[1])
        raise self.unsupported()
