"""A place in a contract's document: its value, its line, and the options that rules from there share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from gristmill.contracts.located import Located
from gristmill.contracts.rule_options import Options
from gristmill.errors import DefinitionError
from gristmill.model.rules import Action

Made = TypeVar("Made")

_WARNS = {"info", "information", "notice", "warn", "warning", "low", "minor", "medium", "trivial"}
_ACTIONS: Mapping[str, Action] = {"block": "block", "quarantine": "quarantine", "warn": "warn"}


def mappings(value: object) -> list[dict[str, object]]:
    """Return the mappings in a list; anything else is no list of mappings."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def custom(value: Mapping[str, object], name: str) -> object:
    """Return a custom property, with or without the prefix ``gristmill.``; None where there is none."""
    for item in mappings(value.get("customProperties")):
        if str(item.get("property", "")).removeprefix("gristmill.") == name:
            return item.get("value")
    return None


@dataclass(frozen=True, slots=True)
class Spot:
    """One part of a document.

    Args:
        document: the whole.
        path: where the part stands.
        owner: who answers for the contract.
        standard: the standard's version, such as ``(3, 1)``.
        action: what a broken rule does, where a part around this one says it.
    """

    document: Located
    path: tuple[str | int, ...]
    owner: str | None
    standard: tuple[int, int]
    action: Action | None = None

    @property
    def value(self) -> dict[str, object]:
        """The part as a mapping; empty where it is none."""
        found: object = self.document.value
        for part in self.path:
            found = found[part]  # type: ignore[index]
        return found if isinstance(found, dict) else {}

    def under(self, key: str) -> Spot:
        """Return the part under a key."""
        return replace(self, path=(*self.path, key))

    def each(self, key: str) -> Iterator[Spot]:
        """Yield the mappings of a list under a key."""
        listed = self.value.get(key)
        for position, item in enumerate(listed if isinstance(listed, list) else ()):
            if isinstance(item, dict):
                yield replace(self, path=(*self.path, key, position))

    def line(self, keys: Sequence[str] = ()) -> int:
        """Return the line of the part, or of a key in it."""
        return self.document.line((*self.path, *keys))

    def said_action(self) -> Action | None:
        """Return what a custom property ``onFail`` of this part says, or None.

        Raises DefinitionError where it says something else than block, quarantine or warn.
        """
        given = custom(self.value, "onFail")
        if given is None:
            return None
        if given not in _ACTIONS:
            raise self.error(f"onFail is {given!r}", hint="block, quarantine or warn")
        return _ACTIONS[str(given)]

    def act(self, default: Action = "block") -> Action:
        """Return what a broken rule from here does."""
        said = self.said_action() or self.action
        if said is not None:
            return said
        severity = str(self.value.get("severity") or "").strip().lower()
        return "warn" if severity in _WARNS else default

    def options(
        self, keys: Sequence[str] = (), *, rows: bool = True, name: str | None = None, default: Action = "block"
    ) -> Options:
        """Return the options of a rule that stands here: origin, owner, and what it does when broken.

        A rule that names no ``rows`` blocks where the contract says quarantine.
        """
        action = self.act(default)
        options: Options = {
            "origin": f"{self.document.file}:{self.line(keys)}",
            "on_fail": "block" if action == "quarantine" and not rows else action,
        }
        if self.owner:
            options["owner"] = self.owner
        if name is not None:
            options["name"] = name
        return options

    def error(self, words: str, *, hint: str | None = None, keys: Sequence[str] = ()) -> DefinitionError:
        """Return an error that names this place."""
        place = self.document.place((*self.path, *keys))
        return DefinitionError(words, code="GM-C024", where=place, hint=hint)

    def checked(self, make: Callable[[], Made], *keys: str) -> Made:
        """Make something; what is wrong with it is said with this place.

        Raises DefinitionError with file, line and column.
        """
        try:
            return make()
        except DefinitionError as error:
            error.where = self.document.place((*self.path, *keys))
            raise
