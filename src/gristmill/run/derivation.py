"""What a derived table or model was made from, and what has changed since: the reason to compute it again.

The fingerprint is the hash of these parts: the normalised operation tree (or code, packages, schema), the
``changed`` tokens of the input columns that are read, parameters, declared environment and files, and the
kernel's version. Equal fingerprints mean that the same rows would come out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import blake3
import msgspec

from gristmill.define import CodeState, Node

if TYPE_CHECKING:
    from gristmill.store import View

KERNEL_VERSION = 1
"""Raised when a change to the kernel may change a result."""


_LOOK_BACK = 1_000
"""How many commits are looked at for a state that was never stored."""

RULES_CHANGED = "its rules, or what they look at, changed"
"""The reason of a table whose rows would come out as before, but must be checked again."""


class Derivation(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of one fingerprint, kept with the table so that a change can be named.

    Args:
        definition: hash of the normalised operation tree, or of a step's schema and settings.
        code: state of the code behind a function; None for Ibis and SQL, whose tree says it all.
        inputs: for each input, the ``changed`` token of every column that is read.
        parameters: keyword parameters and their values, as text.
        environment: declared environment variables, hashed.
        files: digests of declared files.
        run_time_us: the run's time, where the definition reads it.
        checks: digest of the rules that its rows went through, and of what these look at elsewhere.
        kernel: the kernel's version.
        text: the source text, to read only.
        place: file and line.
        states: for each input, the id of the state that was read.
        output: digest of the output's own ``changed`` tokens, and those of its partial results.
        partials: fingerprints of the hidden partial results that stand beside the table, by number.
        through: for a history, the last commit of the log that it tells of.
        clean: whether every rule on rows passed on all of them.
        columns: of a large table (under an empty name) and of its partial results (by number), what each column
            depends on, as digests.
    """

    definition: str
    code: CodeState | None = None
    inputs: dict[str, dict[str, str]] = {}
    parameters: dict[str, str] = {}
    environment: dict[str, str] = {}
    files: dict[str, str] = {}
    run_time_us: int | None = None
    checks: str = ""
    kernel: int = KERNEL_VERSION
    text: str = ""
    place: str = ""
    states: dict[str, str] = {}
    output: str = ""
    partials: dict[str, str] = {}
    through: str = ""
    clean: bool = False
    columns: dict[str, dict[str, str]] = {}

    @property
    def fingerprint(self) -> str:
        """Hash of all parts that decide about the rows."""
        bare = msgspec.structs.replace(
            self, text="", place="", states={}, output="", partials={}, through="", clean=False, columns={}
        )
        return blake3.blake3(msgspec.json.encode(bare, order="deterministic")).hexdigest()

    def reason(self, before: Derivation | None) -> str:
        """Say what makes this differ from ``before``, in one phrase; empty where nothing does."""
        if before is None:
            return "first time"
        if self.code is not None and before.code is not None:
            changed = self.code.changed_since(before.code)
            if changed:
                return changed
        checks = (
            (self.definition != before.definition, "definition changed"),
            (self.kernel != before.kernel, "the kernel's version changed"),
            (self.run_time_us != before.run_time_us and not self.through, "it reads the run's time"),
        )
        for differs, words in checks:
            if differs:
                return words
        for words, now, then in (
            ("parameter", self.parameters, before.parameters),
            ("environment", self.environment, before.environment),
            ("file", self.files, before.files),
        ):
            names = sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))
            if names:
                return f"{words} {', '.join(names)} changed"
        return self.input_reason(before) or ("" if self.checks == before.checks else RULES_CHANGED)

    def input_reason(self, before: Derivation) -> str:
        """Say which inputs differ; empty where none does."""
        for name, tokens in self.inputs.items():
            then = before.inputs.get(name, {})
            columns = sorted(column for column in tokens if tokens[column] != then.get(column))
            if columns and len(columns) == len(tokens):
                return f"{name} changed"
            if columns:
                shown = ", ".join(columns[:3]) + (", ..." if len(columns) > 3 else "")
                return f"{name} changed in {shown}"
        return "reads something else" if self.inputs.keys() != before.inputs.keys() else ""


def alike(now: Derivation, before: Derivation) -> Derivation:
    """Return what a table would be made from now, with the inputs and the rules that it was made with before.

    Its fingerprint is that of ``before`` as long as the definition is the same.
    """
    return msgspec.structs.replace(now, inputs=before.inputs, checks=before.checks)


def document_path(name: str) -> str:
    """Return where a node's derivation stands in a commit."""
    return f"derived/{name}.json"


def load_derivation(snapshot: View, name: str) -> Derivation | None:
    """Return what the table was made from, or None where it was never made."""
    data = snapshot.document(document_path(name))
    return msgspec.json.decode(data, type=Derivation) if data else None


def stored_states(view: View, name: str, made: Derivation) -> dict[str, str]:
    """Return the states of the inputs that a table was made from, each in a form that is stored.

    Where inputs and table were written in one commit, that commit may have compacted an input as its last act. Then
    the state that was read was never stored, and the one that the commit holds has the same rows under the same ids.
    One that is found nowhere is returned as it was noted; reading it raises NotFound.
    """
    gone = [read for read, state in made.states.items() if read in made.inputs and not view.has_state(state)]
    found = dict(made.states)
    document, commit = view.document(document_path(name)), view.commit_id
    for _ in range(_LOOK_BACK):
        if not gone or not commit:
            break
        there = view.store.snapshot(commit)
        if there.document(document_path(name)) != document:
            break
        for read in list(gone):
            if read in there and input_tokens(there, {read: tuple(made.inputs[read])})[read] == made.inputs[read]:
                found[read] = there.table(read).id
                gone.remove(read)
        commit = there.commit.parents[0] if there.commit is not None and there.commit.parents else ""
    return found


def dump_derivation(derivation: Derivation) -> bytes:
    """Return the bytes to keep."""
    return msgspec.json.encode(derivation, order="deterministic")


def input_tokens(snapshot: View, reads: Mapping[str, tuple[str, ...] | None]) -> dict[str, dict[str, str]]:
    """Return the ``changed`` tokens of the columns read; None stands for all columns, and rows alone have ``*``."""
    found: dict[str, dict[str, str]] = {}
    for name, columns in reads.items():
        if name not in snapshot:
            continue
        tokens = snapshot.table(name).tokens
        wanted = tokens if columns is None else {column: tokens[column] for column in columns if column in tokens}
        found[name] = dict(wanted) or {"*": snapshot.table(name).id}
    return found


def declared_environment(node: Node) -> dict[str, str]:
    """Return hashes of the declared environment variables."""
    return {name: environment_digest(name) for name in node.environment}


def environment_digest(name: str) -> str:
    """Return a hash of an environment variable's value, which may be a secret."""
    return blake3.blake3(os.environ.get(name, "").encode()).hexdigest()[:16]


def declared_files(node: Node, root: Path) -> dict[str, str]:
    """Return digests of the declared files."""
    return {name: file_digest(root / name) for name in node.files}


def file_digest(path: Path) -> str:
    """Return the blake3 of a file's content, or ``absent``."""
    return blake3.blake3(path.read_bytes()).hexdigest() if path.is_file() else "absent"
