"""Which rules hold for a table: those given in Python and those of its contract, and when they must be looked at
again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import blake3
import msgspec

from gristmill.define import Graph, Node
from gristmill.errors import DefinitionError
from gristmill.model.rules import Rule
from gristmill.run.context import Context

if TYPE_CHECKING:
    from gristmill.contracts import Contract, TableContract
    from gristmill.store import Transaction, View

_LOOKS_ELSEWHERE = ("relationships", "references", "query")
"""Words without one of which a contract cannot look at another table, so that it need not be read to know."""


def rules_of(ctx: Context, node: Node) -> tuple[Rule, ...]:
    """Return every rule of a node: those of its contract, then Python's; references lead to tables of the project.

    Raises DefinitionError where the contract is missing or wrong, with file and line.
    """
    contract = contract_of(ctx, node)
    own = tuple(_placed(rule, node, ctx.graph) for rule in node.rules)
    stated = tuple(_resolved(rule, ctx.graph) for rule in contract.rules) if contract is not None else ()
    return tuple(
        msgspec.structs.replace(rule, on_fail="quarantine") if (node.name, rule.code) in ctx.set_aside else rule
        for rule in (*stated, *own)
    )


def contract_of(ctx: Context, node: Node) -> TableContract | None:
    """Return what a node's contract says of its table, or None where it has no contract.

    Raises DefinitionError where the contract is missing or wrong, with file and line.
    """
    text = contract_text(ctx, node)
    if text is None or node.contract is None:
        return None
    return _parsed(text, node.contract, str(ctx.root)).table(node.name)


def contract_text(ctx: Context, node: Node) -> bytes | None:
    """Return the bytes of a node's contract as it is in the project's folder, or None where it has none.

    Raises DefinitionError where the file is not there.
    """
    if node.contract is None:
        return None
    try:
        return (ctx.root / node.contract).read_bytes()
    except OSError as error:
        raise DefinitionError(
            f"`{node.name}` has the contract {node.contract}, which cannot be read",
            code="GM-C021",
            where=str(node.place),
            hint=f"write it, or `gristmill contract infer {node.name}`, or mend contract=",
        ) from error


@lru_cache(maxsize=256)
def _parsed(text: bytes, file: str, root: str) -> Contract:
    from gristmill.contracts.compile import compile_contract
    from gristmill.contracts.located import read_yaml
    from gristmill.contracts.odcs import judged

    try:
        document = read_yaml(text.decode("utf-8-sig"), file)
    except UnicodeDecodeError as error:
        raise DefinitionError(f"{file} is no UTF-8 text", code="GM-C021", where=file) from error
    return compile_contract(document, judged(document), Path(root) / file)


def _placed(rule: Rule, node: Node, graph: Graph) -> Rule:
    rule = rule if rule.origin else msgspec.structs.replace(rule, origin=str(node.place))
    return _resolved(rule, graph)


def _resolved(rule: Rule, graph: Graph) -> Rule:
    """Let a reference to ``airports`` lead to ``raw.airports`` where that is the only table of that last name."""
    if rule.kind != "references" or str(rule.parameters["table"]) in graph:
        return rule
    wanted = str(rule.parameters["table"]).lower().rsplit(".", 1)[-1]
    found = [node.name for node in graph if node.is_table and node.name.lower().rsplit(".", 1)[-1] == wanted]
    if len(found) != 1:
        return rule
    return msgspec.structs.replace(rule, parameters={**rule.parameters, "table": found[0]})


def referenced(ctx: Context, node: Node) -> dict[str, tuple[str, ...]]:
    """Return the other tables of the project that a node's rules look into, and the columns they look at.

    For a SQL rule that is every column, written as an empty tuple.
    """
    text = contract_text(ctx, node)
    words = text.decode("utf-8", "replace").lower() if text is not None else ""
    rules: Sequence[Rule] = [_placed(rule, node, ctx.graph) for rule in node.rules]
    if any(word in words for word in _LOOKS_ELSEWHERE):
        contract = contract_of(ctx, node)
        rules = [*rules, *(_resolved(rule, ctx.graph) for rule in (contract.rules if contract else ()))]
    found: dict[str, tuple[str, ...]] = {}
    for rule in rules:
        if rule.kind == "references":
            table, to = str(rule.parameters["table"]), rule.parameters["to"]
            found[table] = (*found.get(table, ()), *map(str, to if isinstance(to, list) else ()))
        elif rule.kind == "query":
            found |= dict.fromkeys(_queried(rule, ctx.graph), ())
    return {name: columns for name, columns in found.items() if name in ctx.graph and name != node.name}


def _queried(rule: Rule, graph: Graph) -> list[str]:
    from gristmill.contracts.queries import tables_in

    alias = rule.parameters.get("alias")
    own = {str(name).lower() for name in alias} if isinstance(alias, list) else set()
    found = []
    for name in tables_in(str(rule.parameters["sql"])):
        last = name.lower().rsplit(".", 1)[-1]
        if name.lower() in own:
            continue
        matches = [node.name for node in graph if node.name.lower() in (name.lower(),)] or [
            node.name for node in graph if node.name.lower().rsplit(".", 1)[-1] == last
        ]
        found += matches if len(matches) == 1 else []
    return found


def ordered(ctx: Context) -> list[Node]:
    """Return the nodes so that inputs come first, and so that tables which rules look into come before, if they can."""
    return ctx.graph.order(after={node.name: tuple(referenced(ctx, node)) for node in ctx.graph})


def checks_digest(ctx: Context, node: Node, snapshot: View) -> str:
    """Return a digest of everything that a table's checks depend on besides its rows; empty where it has no rules.

    That is the rules, the contract's text, and the ``changed`` tokens of columns in other tables that they look at.
    """
    text = contract_text(ctx, node)
    if text is None and not node.rules:
        return ""
    tokens: dict[str, Mapping[str, str]] = {}
    for name, columns in sorted(referenced(ctx, node).items()):
        there = snapshot.table(name).tokens if name in snapshot else {}
        tokens[name] = {column: there.get(column, "") for column in columns or sorted(there)}
    plain = [msgspec.structs.replace(rule, origin=None) for rule in node.rules]
    hashed = blake3.blake3(msgspec.json.encode([plain, tokens], order="deterministic"))
    hashed.update(text or b"")
    return hashed.hexdigest()


def contract_path(name: str) -> str:
    """Return where a table's contract stands in a commit."""
    return f"contracts/{name}.yaml"


def checks_path(name: str) -> str:
    """Return where the digest of a table's last checks stands in a commit."""
    return f"checks/{name}"


def checked_with(snapshot: View, name: str) -> str:
    """Return the digest of the checks that a table last went through; empty where there were none."""
    return (snapshot.document(checks_path(name)) or b"").decode()


def write_checks(ctx: Context, tx: Transaction, node: Node) -> None:
    """Note in the commit which checks a table went through, and keep the contract's text with it."""
    for path, content in (
        (checks_path(node.name), checks_digest(ctx, node, tx).encode()),
        (contract_path(node.name), contract_text(ctx, node) or b""),
    ):
        if content:
            tx.put_document(path, content)
        elif tx.document(path) is not None:
            tx.drop_document(path)
