"""Fingerprint a function's code: its module, every project module it can import, and the packages they use."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Callable, MutableMapping
from functools import cache
from importlib import metadata
from pathlib import Path

import msgspec


class CodeState(msgspec.Struct, frozen=True, kw_only=True):
    """The code behind a definition: digests of project files by path, versions of packages by name."""

    files: dict[str, str]
    packages: dict[str, str]

    def changed_since(self, before: CodeState) -> str | None:
        """Say what differs, such as ``mylib/parse.py changed``; None where nothing does."""
        for path, digest in self.files.items():
            if before.files.get(path) != digest:
                return f"{path} {'changed' if path in before.files else 'is new'}"
        for path in before.files:
            if path not in self.files:
                return f"{path} is gone"
        for name, version in self.packages.items():
            if before.packages.get(name) != version:
                return f"{name} {before.packages.get(name, 'absent')} -> {version}"
        return None


def code_state(
    function: Callable[..., object], root: Path, *, known: MutableMapping[str, CodeState] | None = None
) -> CodeState:
    """Return the state of all code that ``function`` can reach by import within the project at ``root``.

    Args:
        function: where to begin: its whole module counts.
        root: the project's folder.
        known: states by file, found earlier at a time that counts as the same; what is found is added.
    """
    module = sys.modules.get(function.__module__)
    file = getattr(module, "__file__", "") or function.__code__.co_filename
    found = known.get(file) if known is not None else None
    if found is None:
        found = _state(Path(file).resolve(), root)
    if known is not None:
        known[file] = found
    return found


def _state(start: Path, root: Path) -> CodeState:
    files: dict[str, str] = {}
    packages: dict[str, str] = {}
    todo = [start]
    while todo:
        path = todo.pop()
        name = path.relative_to(root).as_posix() if root in path.parents else path.name
        if name in files:
            continue
        digest, imported = _parsed(path, path.stat().st_mtime_ns)
        files[name] = digest
        for wanted in imported:
            inside = _project_file(wanted, root, path)
            if inside is not None:
                todo.append(inside)
            else:
                packages |= _version(wanted.split(".")[0])
    return CodeState(files=dict(sorted(files.items())), packages=dict(sorted(packages.items())))


@cache
def _parsed(path: Path, modified_ns: int) -> tuple[str, frozenset[str]]:
    text = path.read_bytes()
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            names.add(base)
            names.update(
                f"{base}.{alias.name}".replace("..", ".", 1) if node.level else f"{base}.{alias.name}"
                for alias in node.names
            )
    return hashlib.blake2b(text, digest_size=16).hexdigest(), frozenset(names)


def _project_file(name: str, root: Path, importer: Path) -> Path | None:
    folder = root
    if name.startswith("."):
        levels = len(name) - len(name.lstrip("."))
        folder = importer.parents[levels - 1]
        name = name.lstrip(".")
    path = folder.joinpath(*name.split(".")) if name else folder
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate.resolve()
    return None


def _version(package: str) -> dict[str, str]:
    if package in sys.stdlib_module_names or not package:
        return {}
    for distribution in _distributions().get(package, ()):
        return {distribution: metadata.version(distribution)}
    return {}


@cache
def _distributions() -> dict[str, list[str]]:
    return {name: sorted(set(found)) for name, found in metadata.packages_distributions().items()}
