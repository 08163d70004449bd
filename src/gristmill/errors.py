"""Every error that gristmill raises on purpose, and what each one means for the caller.

The family::

    GristmillError            base: code, message, where, hint, retryable, examples
    ├── UsageError            the call itself is wrong: unknown name, bad argument        exit 2
    │   └── DefinitionError   a project, table, rule or contract is defined wrongly       exit 2
    ├── DataError             the data given cannot be taken as it is                     exit 1
    ├── CheckFailed           a check looked at the data and said no                      exit 1
    ├── StoreError            the store could not do it                                   exit 3
    │   ├── NotFound          no such table, branch, commit, row                          exit 2
    │   ├── Stale             what was read has changed since; run it again               exit 4
    │   ├── Conflict          two changes disagree and a person must choose               exit 4
    │   └── Corrupt           stored bytes are not what was written                       exit 3
    └── EngineError           an engine, database, disk or network failed                 exit 3

Codes are stable: ``GM-`` and a letter for the part (U usage, P project, D data, C check, S store, E engine)
and three digits. ``gristmill explain CODE`` prints what stands behind one.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import ClassVar


class GristmillError(Exception):
    """An error that says what happened, where, why, and one thing to try.

    Args:
        message: what happened, in one sentence without a full stop.
        code: stable code, such as ``GM-S004``; each class has a default.
        where: ``file:row:column``, ``table@commit``, or whatever names the place.
        hint: one command or change to try.
        examples: up to three example rows, already formatted.
        retryable: whether the same call can succeed later without a change.

    >>> print(GristmillError("it broke", where="a.csv:3", hint="mend line 3"))
    it broke  [GM-X000]
      at a.csv:3
      try: mend line 3
    """

    default_code: ClassVar[str] = "GM-X000"
    exit_code: ClassVar[int] = 3

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        where: str | None = None,
        hint: str | None = None,
        examples: Sequence[str] = (),
        retryable: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.where = where
        self.hint = hint
        self.examples = tuple(examples[:3])
        self.retryable = retryable

    def __str__(self) -> str:
        lines = [f"{self.message}  [{self.code}]"]
        if self.where:
            lines.append(f"  at {self.where}")
        lines += [f"  | {example}" for example in self.examples]
        if self.hint:
            lines.append(f"  try: {self.hint}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self._parts())

    def _parts(self) -> dict[str, object]:
        return {
            "code": self.code,
            "where": self.where,
            "hint": self.hint,
            "examples": self.examples,
            "retryable": self.retryable,
        }

    def as_dict(self) -> dict[str, object]:
        """Return the parts as plain values, for ``--json`` and logs."""
        return {"message": self.message, **self._parts()}


def _rebuild(kind: type[GristmillError], message: str, parts: dict[str, object]) -> GristmillError:
    return kind(message, **parts)  # type: ignore[arg-type]


class UsageError(GristmillError):
    """The call itself is wrong: an unknown name, a bad argument, a verb that does not apply."""

    default_code = "GM-U001"
    exit_code = 2


class DefinitionError(UsageError):
    """A project, source, table, rule or contract is defined wrongly; ``where`` is file and line."""

    default_code = "GM-P001"


class DataError(GristmillError):
    """The data given cannot be taken as it is; ``where`` is file:row:column."""

    default_code = "GM-D001"
    exit_code = 1


class CheckFailed(GristmillError):
    """A check looked at the data and said no; nothing was published."""

    default_code = "GM-C001"
    exit_code = 1


class StoreError(GristmillError):
    """The store could not do what was asked; what was committed before is unchanged."""

    default_code = "GM-S001"


class NotFound(StoreError):
    """There is no table, branch, tag, commit or row of that name."""

    default_code = "GM-S002"
    exit_code = 2


class Stale(StoreError):
    """What this change read has been changed by another commit since; run it again on the new state."""

    default_code = "GM-S003"
    exit_code = 4


class Conflict(StoreError):
    """Two changes disagree and only a person can say which one holds; nothing was changed."""

    default_code = "GM-S004"
    exit_code = 4


class Corrupt(StoreError):
    """Stored bytes are not what was written; ``where`` names the object."""

    default_code = "GM-S005"


class EngineError(GristmillError):
    """An engine, a database, the disk or the network failed; often a retry can help."""

    default_code = "GM-E001"


def did_you_mean(word: str, known: Sequence[str]) -> str | None:
    """Return a hint that names the closest of the known words, or None.

    >>> did_you_mean("flihgts", ["flights", "weather"])
    'did you mean `flights`?'
    """
    close = get_close_matches(word, known, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(f'`{name}`' for name in close)}?" if close else None
