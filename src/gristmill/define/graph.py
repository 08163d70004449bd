"""The graph of a project's nodes: what reads what, in which order, and which part a selector names."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from graphlib import CycleError, TopologicalSorter

from gristmill.define.nodes import Node
from gristmill.define.streams import Sink
from gristmill.errors import DefinitionError, UsageError, did_you_mean
from gristmill.model.names import check_table_name, is_system_table


class Graph:
    """Nodes by name, each defined once, without cycles.

    >>> from gristmill.define import Node, Place
    >>> graph = Graph()
    >>> graph.add(Node(name="raw.a", kind="source", place=Place("p.py", 1)))
    >>> graph.add(Node(name="clean.a", kind="sql", place=Place("p.py", 2), reads=("raw.a",)))
    >>> [node.name for node in graph.order()]
    ['raw.a', 'clean.a']
    >>> sorted(graph.select(["+clean.a"]))
    ['clean.a', 'raw.a']
    """

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self.sinks: dict[str, Sink] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._nodes

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes.values())

    def __len__(self) -> int:
        return len(self._nodes)

    def __getitem__(self, name: str) -> Node:
        if name not in self._nodes:
            raise UsageError(
                f"the project defines no `{name}`",
                code="GM-P002",
                hint=did_you_mean(name, list(self._nodes)) or "see `gristmill show`",
            )
        return self._nodes[name]

    def add(self, node: Node) -> None:
        """Take a node.

        Raises UsageError for a name that no table can have, DefinitionError, which shows both places, for a second node
        of the same name.
        """
        try:
            check_table_name(node.name)
        except UsageError as error:
            error.where = str(node.place)
            raise
        if is_system_table(node.name):
            hint = f"leave out the first underscore: `{node.name.lstrip('_') or 'raw.table'}`"
            words = f"`{node.name}` begins with an underscore, and such names belong to the system"
            raise UsageError(words, code="GM-U110", where=str(node.place), hint=hint)
        first = self._nodes.get(node.name)
        if first is not None and first.place != node.place:
            raise DefinitionError(
                f"`{node.name}` is defined twice: {first.place} and {node.place}",
                code="GM-P003",
                where=str(node.place),
                hint="give one of them another name",
            )
        self._nodes[node.name] = node

    def add_sink(self, sink: Sink) -> None:
        """Take a sink; a second one of the same name is a DefinitionError."""
        first = self.sinks.get(sink.name)
        if first is not None and first.place != sink.place:
            raise DefinitionError(
                f"the sink `{sink.name}` is defined twice: {first.place} and {sink.place}",
                code="GM-P003",
                where=str(sink.place),
                hint="give one of them another name",
            )
        self.sinks[sink.name] = sink

    def order(self, *, after: Mapping[str, Collection[str]] | None = None) -> list[Node]:
        """Return the nodes so that inputs come first; ties keep the order of definition.

        Args:
            after: for some nodes, others that should come before them too; let go where that makes a circle.
        """
        for node in self:
            self._check_inputs(node)
        later = {name: [other for other in others if other in self] for name, others in (after or {}).items()}
        sorter: TopologicalSorter[str] = TopologicalSorter(
            {node.name: (*node.inputs, *later.get(node.name, ())) for node in self}
        )
        try:
            sorter.prepare()
        except CycleError as error:
            if after:
                return self.order()
            cycle = " -> ".join(error.args[1])
            raise DefinitionError(f"tables read each other in a circle: {cycle}", code="GM-P004") from error
        rank = {name: position for position, name in enumerate(self._nodes)}
        ordered: list[Node] = []
        while sorter.is_active():
            for name in sorted(sorter.get_ready(), key=rank.__getitem__):
                ordered.append(self._nodes[name])
                sorter.done(name)
        return ordered

    def _check_inputs(self, node: Node) -> None:
        for name in node.inputs:
            if name not in self._nodes:
                raise DefinitionError(
                    f"`{node.name}` reads `{name}`, which the project does not define",
                    code="GM-P005",
                    where=str(node.place),
                    hint=did_you_mean(name, list(self._nodes)) or "define it, or mend the name in `reads=`",
                )

    def upstream(self, name: str) -> set[str]:
        """Return every node that this one needs, itself excluded."""
        found: set[str] = set()
        todo = list(self[name].inputs)
        while todo:
            current = todo.pop()
            if current not in found:
                found.add(current)
                todo += self[current].inputs
        return found

    def downstream(self, name: str) -> set[str]:
        """Return every node that needs this one, itself excluded."""
        found: set[str] = set()
        todo = [name]
        while todo:
            current = todo.pop()
            readers = [node.name for node in self if current in node.inputs and node.name not in found]
            found.update(readers)
            todo += readers
        return found

    def select(self, selectors: Iterable[str], *, changed: Iterable[str] = ()) -> set[str]:
        """Return the names that selectors mean: ``a.b``, ``+a.b`` (and what it needs), ``a.b+`` (and what needs
        it), ``raw.*`` and ``changed``; one alone may come as it is, and none at all means everything.

        Raises UsageError where a selector matches nothing.
        """
        selectors = [selectors] if isinstance(selectors, str) else list(selectors)
        if not selectors:
            return set(self._nodes)
        chosen: set[str] = set()
        for selector in selectors:
            if selector == "changed":
                for name in changed:
                    chosen |= {name} | self.downstream(name)
                continue
            chosen |= self._expand(selector)
        return chosen

    def _expand(self, selector: str) -> set[str]:
        pattern = selector.removeprefix("+").removesuffix("+")
        names = [name for name in self._nodes if fnmatchcase(name, pattern)]
        if not names:
            raise UsageError(
                f"no table or model matches `{selector}`",
                code="GM-U002",
                hint=did_you_mean(pattern, list(self._nodes)) or "see `gristmill show` for the names",
            )
        found = set(names)
        for name in names:
            if selector.startswith("+"):
                found |= self.upstream(name)
            if selector.endswith("+"):
                found |= self.downstream(name)
        return found
