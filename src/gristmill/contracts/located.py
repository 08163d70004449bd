"""YAML as plain values with the place of each: line and column of every key, item and value."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from gristmill.errors import DefinitionError

if TYPE_CHECKING:
    from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

Plain = object
"""Dicts, lists, texts, numbers, booleans and None."""

_MOST_NODES = 500_000
_MOST_BYTES = 32 * 2**20


class Located:
    """A YAML document: its ``value``, and where each part of it stands.

    >>> found = read_yaml("a: 1\\nb: [x, y]\\n", "f.yaml")
    >>> found.value["b"], found.place(("b", 1))
    (['x', 'y'], 'f.yaml:2:8')
    """

    def __init__(self, value: Plain, marks: dict[tuple[str | int, ...], tuple[int, int]], file: str) -> None:
        self.value, self.marks, self.file = value, marks, file

    def line(self, path: Iterable[str | int]) -> int:
        """Return the line (from 1) of the part at ``path``, or of the nearest part around it."""
        return self._mark(path)[0]

    def place(self, path: Iterable[str | int]) -> str:
        """Return ``file:line:column`` of the part at ``path``."""
        line, column = self._mark(path)
        return f"{self.file}:{line}:{column}"

    def _mark(self, path: Iterable[str | int]) -> tuple[int, int]:
        parts = tuple(path)
        while parts and parts not in self.marks:
            parts = parts[:-1]
        return self.marks.get(parts, (1, 1))


def read_yaml(text: str, file: str) -> Located:
    """Read one YAML document; dates stay text, tags and custom types are not built.

    Raises DefinitionError with file, line and column: it is not valid YAML, a key stands twice, or aliases make it
    too large.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    if len(text.encode()) > _MOST_BYTES:
        raise DefinitionError("the document is too large", code="GM-C020", where=file)
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else file
        raise DefinitionError(f"this is not valid YAML: {error.problem}", code="GM-C020", where=where) from error
    except (YAMLError, ValueError) as error:
        words = str(error).splitlines()[0]
        raise DefinitionError(f"this is not valid YAML: {words}", code="GM-C020", where=file) from error
    reader = _Reader(file)
    return Located(reader.value(root, ()) if root is not None else None, reader.marks, file)


def read_file(path: Path, file: str) -> Located:
    """Read a YAML file.

    Raises DefinitionError where it is missing, is no UTF-8 text, or as ``read_yaml`` does.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DefinitionError(f"there is no {file}", code="GM-C021", where=file, hint="mend the path") from error
    except (UnicodeDecodeError, OSError) as error:
        raise DefinitionError(f"{file} cannot be read: {error}", code="GM-C021", where=file) from error
    return read_yaml(text, file)


class _Reader:
    """Turns composed nodes into plain values and notes where each stands."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.marks: dict[tuple[str | int, ...], tuple[int, int]] = {}
        self.nodes = 0
        self.open: set[int] = set()

    def value(self, node: Node, path: tuple[str | int, ...]) -> Plain:
        from ruamel.yaml.nodes import MappingNode, SequenceNode

        self.marks.setdefault(path, (node.start_mark.line + 1, node.start_mark.column + 1))
        self.nodes += 1
        if self.nodes > _MOST_NODES or id(node) in self.open:
            raise self._error(node, "aliases make the document too large or endless")
        if isinstance(node, MappingNode | SequenceNode):
            self.open.add(id(node))
            made: Plain = self._mapping(node, path) if isinstance(node, MappingNode) else self._sequence(node, path)
            self.open.discard(id(node))
            return made
        return _scalar(node.tag or "", node.value)

    def _sequence(self, node: SequenceNode, path: tuple[str | int, ...]) -> list[Plain]:
        return [self.value(item, (*path, position)) for position, item in enumerate(node.value)]

    def _mapping(self, node: MappingNode, path: tuple[str | int, ...]) -> dict[str, Plain]:
        made: dict[str, Plain] = {}
        merged: dict[str, Plain] = {}
        for key, item in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                merged |= self._merged(item, path)
                continue
            if not isinstance(key.value, str):
                raise self._error(key, "a key is no text")
            if key.value in made:
                raise self._error(key, f"the key `{key.value}` stands twice")
            self.marks[(*path, key.value)] = (key.start_mark.line + 1, key.start_mark.column + 1)
            made[key.value] = self.value(item, (*path, key.value))
        return {**merged, **made}

    def _merged(self, node: Node, path: tuple[str | int, ...]) -> dict[str, Plain]:
        from ruamel.yaml.nodes import MappingNode, SequenceNode

        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        found: dict[str, Plain] = {}
        for item in node.value if isinstance(node, SequenceNode) else ():
            found = {**self._merged(item, path), **found}
        return found

    def _error(self, node: Node, words: str) -> DefinitionError:
        where = f"{self.file}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"
        return DefinitionError(f"this cannot be read: {words}", code="GM-C020", where=where)


def _scalar(tag: str, text: str) -> Plain:
    kind = tag.rsplit(":", 1)[-1]
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() in ("true", "yes", "on", "y")
    if kind == "int":
        return _integer(text)
    if kind == "float":
        return _float(text)
    return text


def _integer(text: str) -> Plain:
    try:
        return int(text.replace("_", ""), 0 if text.lstrip("+-").lower().startswith(("0x", "0o", "0b")) else 10)
    except ValueError:
        return text


def _float(text: str) -> Plain:
    folded = text.replace("_", "").lower()
    if folded.lstrip("+-") == ".inf":
        return float("-inf") if folded.startswith("-") else float("inf")
    if folded == ".nan":
        return float("nan")
    try:
        return float(folded)
    except ValueError:
        return text
