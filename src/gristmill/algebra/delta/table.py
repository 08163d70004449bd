"""The rules as a table, from which the documentation is written."""

from __future__ import annotations

import msgspec


class Line(msgspec.Struct, frozen=True):
    """How one kind of operation is maintained.

    Args:
        operation: what a user writes.
        rule: the name of the rule, as ``plan`` shows it.
        how: what is computed.
        cost: what the work grows with.
    """

    operation: str
    rule: str
    how: str
    cost: str


_SCAN = "one pass over the other side, few rows kept"
_TOUCHED = "one pass over the old and one over the new input, touched rows kept; less where files are pruned by key"

LINES: tuple[Line, ...] = (
    Line("select, mutate, filter, drop_null, fill_null", "linear", "the operation on the changed rows", "the changes"),
    Line("unnest", "linear", "the operation on the changed rows", "the changes"),
    Line("union(distinct=False)", "linear", "the changes of both sides", "the changes"),
    Line("order_by without limit", "linear", "nothing: a table is a bag of rows", "the changes"),
    Line(
        "inner and cross join, self-joins too",
        "bilinear",
        "changed left rows with the new right side, and the old left side with changed right rows",
        _SCAN,
    ),
    Line(
        "left and right join, semi and anti join, isin(column)",
        "touched rows",
        "changed left rows with the new right side; for a changed right row, the left rows that it meets, before "
        "and after. A left row with a null key meets nothing and is never touched",
        _SCAN + "; twice where the right side changed",
    ),
    Line("outer join", "touched rows", "a left join, and the right rows that meet nothing", "as both"),
    Line(
        "gm.asof_join",
        "touched rows",
        "changed left rows with the new right side; for a changed right row, the left rows at whose moment it could "
        "count (same `by`, right direction, `within`, not beyond the next right moment), before and after",
        "one pass over the left side, right rows of the touched `by`; all of the right side without `by`",
    ),
    Line(
        "group_by with count, sum, mean, var, std, cov, corr, any, all; the same without groups",
        "mergeable",
        "changes are added to hidden partial results: rows of the group, counts of values that are not null, exact "
        "integer sums, kept values that fit no limb. A group goes with its last row; without groups the row stays",
        "the changes, and one pass over the hidden state",
    ),
    Line(
        "min and max",
        "mergeable",
        "a row that comes is compared with the kept extreme; when a row goes that may have been it, that group "
        "is looked up in the input",
        "as above; one pass over the new input when an extreme went",
    ),
    Line(
        "distinct, union, intersect, difference",
        "mergeable",
        "a hidden count per row and side; a row comes or goes when its count leaves or reaches zero",
        "the changes, and one pass over the hidden state",
    ),
    Line(
        "group_by with median, quantile, nunique, mode, first, last, argmin, argmax, collect, group_concat",
        "touched keys",
        "the groups of all changed rows, before and after, computed from the old and from the new input",
        _TOUCHED,
    ),
    Line(
        "windows with group_by: rank, row_number, lag, lead, sums, frames; top rows per group; sessions",
        "touched keys",
        "the partitions of all changed rows, before and after",
        _TOUCHED,
    ),
    Line("pivot_wider", "as its aggregate", "a group-by with a condition per column", "as its aggregate"),
    Line(
        "a statistic of a whole table in a condition",
        "bilinear",
        "a cross join with one row: nothing is done while the statistic stays the same",
        "the changes; a pass when it moves",
    ),
    Line(
        "windows without group_by over a range with two ends, by an integer, a date or a time",
        "touched keys",
        "the rows within reach of a changed row's moment, before and after",
        _TOUCHED,
    ),
    Line(
        "windows without group_by, order_by with limit, a median of all rows: over groups that hidden results hold",
        "touched keys",
        "all groups before and after, from the hidden results; the inputs are not read",
        "two passes over the hidden state",
    ),
    Line("other windows without group_by", "full", "all rows before and after", "all of it"),
    Line("other order_by with limit", "full", "the first rows before and after", "all of it, little memory"),
    Line("other aggregates of all rows that need all values", "full", "before and after", "all of it"),
    Line("exists with a condition on both sides; not isin(column)", "full", "before and after", "all of it"),
    Line("gm.run_time()", "full", "only computing anew can tell", "all of it"),
)


def as_markdown() -> str:
    """Return the page ``docs/incremental.md``."""
    lines = [
        "# What follows changes, and how",
        "",
        "When inputs change, a derived table is brought up to date from the changed rows where its operations allow",
        "it. This page says how for each operation; `plan` shows the same words. Whichever rule is used, the rows are",
        "those that computing all anew gives, bit for bit; tests compare the two on random definitions and edits. This",
        "page is written by `gristmill.algebra.delta.table`.",
        "",
        "| you write | rule | what is computed | the work grows with |",
        "|---|---|---|---|",
    ]
    lines += [f"| {line.operation} | {line.rule} | {line.how} | {line.cost} |" for line in LINES]
    lines += [
        "",
        "A table takes the dearest rule of its operations: *delta* for linear, bilinear and mergeable ones, *touched*,",
        "*full*. Where the changes are so many that computing all anew is cheaper, that is done instead.",
        "",
        "A changed definition of a large table with a key computes only the *columns* that changed, where it gives the",
        "same rows: what each column depends on is kept. The others are read from the table as it is, and so are",
        "partial results. Where rows may change too, where rules set rows aside, or inputs have changed as well, it is",
        "*full*.",
        "",
        "A definition in SQL follows by the same rules: it is read as relations, and each value in it stays the text",
        "that it is. That holds for SELECT with WHERE, joins, GROUP BY, HAVING, QUALIFY, DISTINCT, ORDER BY with",
        "LIMIT, WITH, subqueries in FROM, set operations, subqueries that are one value, and IN over a subquery. Of",
        "two zeros, and of rows with equal places in a window, the text leaves open which is shown; it is settled as",
        "for Ibis, as are the last bits of sums, variances and correlations of floats. What could give other rows than",
        "its text is computed in full, and `plan` says why: sums of floats over a window, `first`, `arg_max`,",
        "DISTINCT ON, EXISTS, ROLLUP, UNNEST, recursion, ASOF.",
    ]
    return "\n".join(lines) + "\n"
