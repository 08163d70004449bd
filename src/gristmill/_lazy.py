"""Names of a package that are imported when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module


def lazy(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package whose names live in modules of its own.

    Args:
        package: its ``__name__``.
        homes: the module, below the package, that each name lives in.

    >>> getattr_, dir_ = lazy("gristmill.model", {"Field": "schema"})
    >>> getattr_("Field").__name__, dir_()
    ('Field', ['Field'])
    """

    def get(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value: object = getattr(import_module(f"{package}.{homes[name]}"), name)
        return value

    return get, lambda: sorted(homes)
