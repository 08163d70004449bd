"""The graph: order, mistakes with places and suggestions, selectors."""

import pytest

from gristmill.define import Graph, Node, Place
from gristmill.errors import DefinitionError, UsageError


def graph(**reads: tuple[str, ...]) -> Graph:
    made = Graph()
    for line, (name, inputs) in enumerate(reads.items(), 1):
        made.add(Node(name=name, kind="sql" if inputs else "source", place=Place("p.py", line), reads=inputs))
    return made


def test_inputs_come_first_and_ties_keep_their_order() -> None:
    made = graph(c=("b", "a"), b=("a",), z=(), a=())
    assert [node.name for node in made.order()] == ["z", "a", "b", "c"]


def test_a_circle_is_shown() -> None:
    with pytest.raises(DefinitionError, match="in a circle: "):
        graph(a=("b",), b=("a",)).order()


def test_an_unknown_input_suggests_the_nearest_and_names_the_line() -> None:
    with pytest.raises(DefinitionError) as caught:
        graph(flights=(), clean=("flihgts",)).order()
    assert caught.value.where == "p.py:2"
    assert "`flights`" in str(caught.value)


def test_a_name_is_defined_once() -> None:
    made = graph(a=())
    with pytest.raises(DefinitionError, match=r"defined twice: p\.py:1 and p\.py:9"):
        made.add(Node(name="a", kind="sql", place=Place("p.py", 9)))


@pytest.mark.parametrize(
    ("selectors", "names"),
    [
        ([], "abcd"),
        (["b"], "b"),
        (["+c"], "abc"),
        (["b+"], "bc"),
        (["changed"], "bc"),
        (["d", "a"], "ad"),
        (["?"], "abcd"),
    ],
)
def test_selectors(selectors: list[str], names: str) -> None:
    made = graph(a=(), b=("a",), c=("b",), d=())
    assert made.select(selectors, changed=["b"]) == set(names)


def test_one_selector_may_come_as_it_is() -> None:
    made = graph(**{"ab": (), "a": (), "b": ()})
    assert made.select("ab") == made.select(["ab"]) == {"ab"}


def test_a_selector_that_matches_nothing_is_an_error() -> None:
    with pytest.raises(UsageError, match="no table or model matches"):
        graph(a=()).select(["b"])


@pytest.mark.parametrize(
    "name", ["", "a b", "a..b", "../x", "a\nb", "x" * 300, "run/1", "a@b", "_runs", "_quarantine.a"]
)
def test_a_name_that_no_table_can_have_is_refused_where_it_is_defined(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        Graph().add(Node(name=name, kind="source", place=Place("p.py", 7)))
    assert (caught.value.code, caught.value.where) == ("GM-U110", "p.py:7")
