"""Find a project's folder and import its modules: the only place that runs project code."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from gristmill.define.nodes import Place
from gristmill.define.settings import FILE_NAME, Settings
from gristmill.errors import DefinitionError, GristmillError, UsageError


def find_root(start: Path | None = None) -> Path:
    """Return the nearest folder at or above ``start`` that holds ``gristmill.toml``.

    Raises UsageError where there is none.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / FILE_NAME).is_file():
            return folder
    raise UsageError(
        f"no {FILE_NAME} in {start} or above it",
        code="GM-U004",
        hint="`gristmill init NAME` makes a project; `cd` into one; or give `--project DIR`",
    )


def load_modules(root: Path, settings: Settings) -> list[ModuleType]:
    """Import the modules that the settings name, from the project's folder.

    What was imported from there before, and modules of the same names from elsewhere, are dropped from the import
    cache first: a process can load a project again after its files have changed, and several projects.

    Raises DefinitionError with file and line where a module is missing or fails.
    """
    folder = str(root)
    if folder in sys.path:
        sys.path.remove(folder)
    sys.path.insert(0, folder)
    _forget(settings.project.modules, root)
    importlib.invalidate_caches()
    return [_import(name, root) for name in settings.project.modules]


def _forget(names: Iterable[str], root: Path) -> None:
    """Drop from the import cache what lies in the project's folder, and modules of its names from elsewhere."""
    wanted = tuple(names)
    for loaded, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        inside = file is not None and root in Path(file).parents
        if loaded != "__main__" and (inside or loaded.split(".")[0] in {name.split(".")[0] for name in wanted}):
            del sys.modules[loaded]


def _import(name: str, root: Path) -> ModuleType:
    if (
        not (root / Path(*name.split("."))).with_suffix(".py").is_file()
        and not (root / Path(*name.split(".")) / "__init__.py").is_file()
    ):
        raise DefinitionError(
            f"the project has no module `{name}`",
            code="GM-P007",
            where=str(root / FILE_NAME),
            hint=f"write {name}.py, or list the right names under [project] modules",
        )
    try:
        return importlib.import_module(name)
    except GristmillError:
        sys.modules.pop(name, None)
        raise
    except Exception as error:
        sys.modules.pop(name, None)
        raise DefinitionError(
            f"{name} could not be loaded: {type(error).__name__}: {error}",
            code="GM-P008",
            where=_innermost_place(error, root),
        ) from error


def _innermost_place(error: BaseException, root: Path) -> str | None:
    place = None
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    trace = error.__traceback__
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if root in file.parents:
            place = f"{file.relative_to(root).as_posix()}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def user_place(error: BaseException, place: Place) -> str:
    """Return the line of the user's own file where an error was raised, else where the definition stands."""
    found = str(place)
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if Path(file).name == Path(place.file).name and file.endswith(place.file.lstrip("./")):
            found = f"{place.file}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found
