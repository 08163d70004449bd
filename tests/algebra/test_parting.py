"""How definitions are cut into stages."""

import ibis
import pytest

from gristmill import algebra

T = ibis.table({"k": "int64", "g": "string", "x": "float64", "t": "timestamp(6)"}, name="raw.t")
U = ibis.table({"k": "int64", "y": "int64"}, name="raw.u")


def stages(expr: ibis.Table, small: tuple[str, ...] = ()) -> list[str]:
    return [stage.operation for stage in algebra.parted(algebra.normalise(expr), small=small).stages]


def test_what_looks_at_one_row_is_one_stage_over_any_cut() -> None:
    found = algebra.parted(algebra.normalise(T.filter(T.x > 0).mutate(z=T.x * 2)))
    assert [feed.how for stage in found.stages for feed in stage.feeds.values()] == ["rows"]
    assert not found.exchanges


def test_groups_send_partial_results() -> None:
    assert stages(T.group_by("g").agg(x=T.x.sum())) == ["group by g, in part", "group by g"]
    assert stages(T.group_by("g").agg(m=T.x.median())) == ["read", "group by g"]


def test_rows_that_lie_by_a_key_are_not_sent_again() -> None:
    joined = T.join(U, "k")
    assert stages(joined) == ["read", "read", "inner join by k"]
    assert stages(joined.group_by("k").agg(n=lambda t: t.count())) == ["read", "read", "group by k"]


def test_a_small_table_goes_whole_to_every_piece() -> None:
    assert stages(T.join(U, "k"), small=("raw.u",)) == ["join with all of a table"]
    assert stages(T.left_join(U, T.k > U.k)) == ["join with all of a table"]


@pytest.mark.parametrize(
    ("expr", "why"),
    [
        (T.mutate(r=ibis.row_number().over(ibis.window(order_by=T.t))), "a window over all rows"),
        (T.agg(m=T.x.median()), "an aggregate over all rows"),
        (T.order_by("t").limit(3), "an order over all rows"),
    ],
)
def test_what_cannot_be_parted_says_why(expr: ibis.Table, why: str) -> None:
    found = algebra.parted(algebra.normalise(expr)).whole
    assert len(found) == 1
    assert found[0].startswith(why)


def test_rows_without_a_stored_form_stay_in_one_piece() -> None:
    found = algebra.parted(
        algebra.normalise(T.mutate(i=ibis.interval(days=1)).group_by("g").agg(n=lambda t: t.count()))
    )
    assert found.schema.names == ("g", "n")
