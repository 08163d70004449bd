"""Read contracts of the Open Data Contract Standard, each judged by the JSON schema of its own version.

Versions 3.0.x, 3.1 and 3.2 (bitol.io) are read. A document that breaks its schema is refused with file, line, column
and reason; what it asks for is then compiled to rules (``compile.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gristmill.contracts.located import Located, read_file, read_yaml
from gristmill.errors import DefinitionError, did_you_mean

if TYPE_CHECKING:
    from jsonschema import ValidationError
    from jsonschema.protocols import Validator

    from gristmill.contracts.values import Contract

_SCHEMAS = {(3, 0): "v3.0.2", (3, 1): "v3.1.0", (3, 2): "v3.2.0"}
_KNOWN = "v3.0.0, v3.0.1, v3.0.2, v3.1.0, v3.2.0"


def load(path: str | Path, root: Path | None = None) -> Contract:
    """Read a contract from a file.

    Args:
        path: the file; relative paths start at ``root``.
        root: the project's folder; default: the working directory.

    Raises DefinitionError with file, line, column and reason.
    """
    full = (root or Path.cwd()) / path
    return _compiled(read_file(full, str(path)), full)


def parse(text: str, file: str = "contract.yaml") -> Contract:
    """Read a contract from text; ``file`` names it in errors.

    Raises DefinitionError with file, line, column and reason.
    """
    return _compiled(read_yaml(text, file), None)


def _compiled(document: Located, path: Path | None) -> Contract:
    from gristmill.contracts.compile import compile_contract

    return compile_contract(document, judged(document), path)


def judged(document: Located) -> tuple[int, int, int]:
    """Check a document against the schema of its own version; return the version whose words it uses.

    A document that says one version and uses words of a later one is taken for the later one.

    Raises DefinitionError with the first thing that is wrong under its own version, and how many more there are.
    """
    version = _version(document)
    problems = list(_problems(document, version[:2]))
    if problems:
        whole = all(" is missing in the contract" not in words for _, words, _ in problems)
        for later in (other for other in _SCHEMAS if whole and other > version[:2]):
            if _validator(_SCHEMAS[later]).is_valid(_json(document)):
                return (*later, 0)
        place, words, hint = problems[0]
        more = [f"{other}: {text}" for other, text, _ in problems[1:4]]
        suffix = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise DefinitionError(words + suffix, code="GM-C023", where=place, hint=hint, examples=more)
    return version


def _version(document: Located) -> tuple[int, int, int]:
    if not isinstance(document.value, dict):
        raise DefinitionError("this is no contract: a mapping is expected", code="GM-C023", where=document.place(()))
    given = document.value.get("apiVersion")
    found = re.fullmatch(r"v?(\d+)\.(\d+)\.(\d+)(?:-.*)?", str(given or ""))
    version = (int(found[1]), int(found[2]), int(found[3])) if found else None
    if version is None or version[:2] not in _SCHEMAS:
        words = "`apiVersion` is missing" if given is None else f"`apiVersion` {given} is not read"
        hint = f"known versions: {_KNOWN}"
        raise DefinitionError(words, code="GM-C023", where=document.place(("apiVersion",)), hint=hint)
    return version


def _json(document: Located) -> dict[str, Any]:
    assert isinstance(document.value, dict)
    return document.value


@cache
def _validator(name: str) -> Validator:
    import json

    from jsonschema import Draft201909Validator

    text = (files("gristmill.contracts") / "schemas" / f"odcs-json-schema-{name}.json").read_text(encoding="utf-8")
    return Draft201909Validator(json.loads(text))


def _problems(document: Located, version: tuple[int, int]) -> Iterator[tuple[str, str, str | None]]:
    found = list(_leaves(_validator(_SCHEMAS[version]).iter_errors(_json(document))))
    explained = {tuple(error.absolute_path) for error in found if error.validator != "unevaluatedProperties"}
    seen: set[tuple[int, str]] = set()
    for error in sorted(found, key=lambda error: (document.line(_path(error)), str(error.validator))):
        path, words, hint = _words(error)
        if error.validator == "unevaluatedProperties" and any(other[: len(path)] == path for other in explained):
            continue
        key = (document.line(path), words)
        if key not in seen:
            seen.add(key)
            yield document.place(path), words, hint


def _leaves(errors: Iterator[ValidationError]) -> Iterator[ValidationError]:
    """Where one of several forms must fit, go into the form that fits best, so that the reason is a plain one."""
    from jsonschema.exceptions import best_match

    for error in errors:
        if error.context and error.validator in ("oneOf", "anyOf") and not _operators(error):
            best = best_match([error])
            yield best if best is not None else error
        else:
            yield error


def _operators(error: ValidationError) -> bool:
    return isinstance(error.instance, dict) and all(other.validator == "required" for other in error.context or ())


def _path(error: ValidationError) -> tuple[str | int, ...]:
    path = tuple(error.absolute_path)
    extra = _extra(error)
    return (*path, extra[0]) if extra else path


def _extra(error: ValidationError) -> list[str]:
    """Names of keys that should not be there, from the message of the validator."""
    if error.validator not in ("additionalProperties", "unevaluatedProperties") or not isinstance(error.instance, dict):
        return []
    listed = re.search(r"\((.*) (?:was|were) unexpected\)", error.message, re.S)
    named = re.findall(r"'([^']*)'", listed[1]) if listed else []
    return [name for name in named if name in error.instance]


def _words(error: ValidationError) -> tuple[tuple[str | int, ...], str, str | None]:
    path = _path(error)
    at = ".".join(str(part) for part in error.absolute_path) or "the contract"
    if error.validator == "required":
        missing = re.match(r"'([^']*)'", error.message)
        return path, f"`{missing[1] if missing else '?'}` is missing in {at}", None
    extra = _extra(error)
    if extra:
        known = list(_properties(error.schema))
        return path, f"`{extra[0]}` is no key of {at}", did_you_mean(extra[0], known)
    if error.validator == "type":
        return path, f"{at} is {_short(error.instance)}, not {_listed(error.validator_value)}", None
    if error.validator in ("enum", "const"):
        values = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
        hint = did_you_mean(str(error.instance), [str(value) for value in values])
        return path, f"{at} is {_short(error.instance)}, not {_listed(values)}", hint
    if error.validator == "pattern":
        return path, f"{at} is {_short(error.instance)}, which does not match {error.validator_value}", None
    if error.validator == "oneOf" and _operators(error):
        return path, f"{at} needs exactly one of mustBe, mustNotBe, mustBeGreaterThan, mustBeLessThan, ...", None
    return path, f"{at}: {error.message[:200]}", None


def _properties(schema: object) -> Iterator[str]:
    if isinstance(schema, dict) and isinstance(schema.get("properties"), dict):
        yield from schema["properties"]


def _short(value: object) -> str:
    text = repr(value) if not isinstance(value, dict | list) else ("a mapping" if isinstance(value, dict) else "a list")
    return text if len(text) <= 60 else text[:57] + "..."


def _listed(values: object) -> str:
    return " or ".join(map(str, values)) if isinstance(values, list) else str(values)
