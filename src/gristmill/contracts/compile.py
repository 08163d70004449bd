"""From a contract's document to rules: keys, types, options of logical types, relationships, service levels.

``quality.py`` compiles the entries under ``quality``. Every rule carries the file and line that states it, the
contract's owner, and what is done when it is broken. The standard has no word for that, so it follows from
``severity``: ``info``, ``warn``, ``low``, ``minor`` warn; everything else, or nothing, blocks; a custom property
``onFail`` (block, quarantine, warn) on the entry, the column or the table says it outright.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gristmill.contracts import rules
from gristmill.contracts.located import Located
from gristmill.contracts.logical import stored_as, strptime_pattern
from gristmill.contracts.patterns import FORMATS
from gristmill.contracts.quality import quality_rules
from gristmill.contracts.rule_options import Options
from gristmill.contracts.spots import Spot, custom, mappings
from gristmill.contracts.values import ColumnContract, Contract, TableContract
from gristmill.model.rules import Rule


def compile_contract(document: Located, version: tuple[int, int, int], path: Path | None) -> Contract:
    """Return a judged document as a contract with its rules.

    Raises DefinitionError with file and line where a rule makes no sense.
    """
    top = document.value
    assert isinstance(top, dict)
    owner = _owner(top)
    spot = Spot(document, (), owner, version[:2])
    objects = _objects(spot)
    tables = tuple(_Table(item, objects, path).contract() for item in spot.each("schema"))
    tables = _with_promises(spot, tables)
    said = str(top.get("apiVersion", "")).removeprefix("v")
    used = ".".join(map(str, version))
    notes = () if said.split("-")[0] == used else (f"says apiVersion {said} and uses words of {used}",)
    return Contract(
        file=document.file,
        standard=said,
        id=str(top.get("id", "")),
        name=str(top.get("name") or top.get("id", "")),
        version=str(top.get("version", "")),
        status=str(top.get("status", "")),
        owner=owner or "",
        tables=tables,
        promises=tuple(_promise_words(item) for item in mappings(top.get("slaProperties"))),
        notes=notes,
    )


def _owner(top: Mapping[str, object]) -> str | None:
    """Who answers for a contract: the member whose role says owner, else the team, else a custom property."""
    team = top.get("team")
    members = mappings(team.get("members") if isinstance(team, dict) else team)
    for member in members:
        if "owner" in str(member.get("role", "")).lower() and not member.get("dateOut"):
            return str(member.get("username") or member.get("name"))
    if isinstance(team, dict) and team.get("name"):
        return str(team["name"])
    owner = custom(top, "owner")
    return str(owner) if owner else None


def _objects(spot: Spot) -> dict[str, str]:
    """Names by which relationships call the objects of this contract, and the table that each one is."""
    found: dict[str, str] = {}
    for item in spot.each("schema"):
        table = str(item.value.get("name", ""))
        for key in ("id", "physicalName", "name"):
            if item.value.get(key):
                found[str(item.value[key])] = table
    return found


@dataclass(frozen=True, slots=True)
class _Table:
    """Compiles one object of the schema."""

    spot: Spot
    objects: Mapping[str, str]
    path: Path | None

    def contract(self) -> TableContract:
        value = self.spot.value
        notes: list[str] = []
        columns = list(self._columns(self.spot, ""))
        key = tuple(name for _, name in sorted(_key_parts(columns)))
        found: list[Rule] = []
        if columns:
            names = [name for name, _ in columns if "." not in name]
            found.append(rules.columns(names, **self.spot.options(rows=False)))
        if key:
            first = min((spot for _, spot in columns if spot.value.get("primaryKey")), key=lambda spot: spot.line())
            keep = custom(value, "keepDuplicates")
            found.append(rules.not_null(*key, **first.options()))
            found.append(first.checked(lambda: rules.unique(*key, keep=keep, **first.options())))  # type: ignore[arg-type]
        for name, spot in columns:
            found += _column_rules(name, spot, key)
            found += self._relationships(spot, name)
            found += quality_rules(spot, notes, table=self._alias(), column=name)
        found += self._relationships(self.spot, None)
        found += quality_rules(self.spot, notes, table=self._alias(), column=None)
        limit = custom(value, "maxQuarantine")
        return TableContract(
            name=str(value["name"]),
            physical_name=str(value.get("physicalName", "")),
            identifier=str(value.get("id", "")),
            description=str(value.get("description") or ""),
            columns=tuple(_column(name, spot) for name, spot in columns),
            key=key,
            rules=named_apart(found),
            max_quarantine=float(limit) if isinstance(limit, int | float) else None,
            notes=tuple(notes),
        )

    def _alias(self) -> list[str]:
        value = self.spot.value
        return [str(value[key]) for key in ("name", "physicalName", "id") if value.get(key)]

    def _columns(self, spot: Spot, prefix: str) -> Iterator[tuple[str, Spot]]:
        for item in spot.each("properties"):
            name = prefix + str(item.value.get("physicalName") or item.value.get("name"))
            inherited = replace(item, action=item.said_action() or spot.action)
            yield name, inherited
            if item.value.get("logicalType") == "object":
                yield from self._columns(inherited, name + ".")

    def _relationships(self, spot: Spot, column: str | None) -> Iterator[Rule]:
        for item in spot.each("relationships"):
            targets = [self._target(str(part)) for part in _listed(item.value.get("to"))]
            own = [str(part).split(".")[-1].split("/")[-1] for part in _listed(item.value.get("from"))]
            tables = {table for table, _ in targets}
            if len(tables) != 1:
                raise item.error("a relationship leads to exactly one table")
            yield item.checked(
                lambda own=own, targets=targets, item=item: rules.references(  # type: ignore[misc]
                    [column] if column else own, targets[0][0], [name for _, name in targets], **item.options()
                )
            )

    def _target(self, reference: str) -> tuple[str, str]:
        """Return table and column of ``table.column``, ``schema/table/properties/column``, ``file.yaml#/...``."""
        file, _, inner = reference.rpartition("#")
        parts = [part for part in inner.split("/") if part]
        if len(parts) == 1:
            table, _, column = parts[0].rpartition(".")
        else:
            table, column = parts[1], ".".join(part for part in parts[2:] if part != "properties")
        return self._other(file, table), column

    def _other(self, file: str, table: str) -> str:
        if not file or "://" in file or self.path is None:
            return self.objects.get(table, table) if not file else table
        other = self.path.parent / file
        if not other.is_file():
            return table
        from gristmill.contracts.located import read_file

        document = read_file(other, file)
        return _objects(Spot(document, (), None, self.spot.standard)).get(table, table)


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else [] if value is None else [value]


def _key_parts(columns: Sequence[tuple[str, Spot]]) -> Iterator[tuple[tuple[int, int], str]]:
    for position, (name, spot) in enumerate(columns):
        if spot.value.get("primaryKey"):
            given = spot.value.get("primaryKeyPosition")
            yield (given if isinstance(given, int) and given > 0 else 10**6, position), name


def _column(name: str, spot: Spot) -> ColumnContract:
    value = spot.value
    return ColumnContract(
        name=name,
        type=str(value.get("logicalType") or value.get("physicalType") or ""),
        required=bool(value.get("required") or value.get("primaryKey")),
        description=str(value.get("description") or ""),
        classification=str(value.get("classification") or ""),
    )


def _column_rules(name: str, spot: Spot, key: Sequence[str]) -> Iterator[Rule]:
    value = spot.value
    types = stored_as(str(value.get("logicalType") or ""), str(value.get("physicalType") or ""), spot.standard)
    if types:
        yield rules.has_type(name, *types, **spot.options(("logicalType",), rows=False))
    if value.get("required") and name not in key:
        yield rules.not_null(name, **spot.options(("required",)))
    if value.get("unique") and tuple(key) != (name,):
        yield rules.unique(name, **spot.options(("unique",)))
    if isinstance(value.get("enum"), list):
        values = [item.get("value") if isinstance(item, dict) else item for item in _listed(value["enum"])]
        yield rules.one_of(
            name,
            values,  # type: ignore[arg-type]
            **spot.options(("enum",)),
        )
    options = value.get("logicalTypeOptions")
    if isinstance(options, dict):
        yield from _option_rules(name, spot, options)


def _option_rules(name: str, spot: Spot, options: Mapping[str, object]) -> Iterator[Rule]:
    at = spot.under("logicalTypeOptions")
    kind = str(spot.value.get("logicalType") or "")
    limits = dict(_limits(options))
    if limits:
        first = next(key for key in _LIMITS if key in options)
        low, high, above, below = (limits.get(key) for key in ("low", "high", "above", "below"))
        options_ = at.options((first,))
        yield at.checked(lambda: rules.between(name, low=low, high=high, above=above, below=below, **options_))
    if "minLength" in options or "maxLength" in options:
        first = "minLength" if "minLength" in options else "maxLength"
        least, most = options.get("minLength"), options.get("maxLength")
        yield at.checked(lambda: rules.length(name, low=least, high=most, **at.options((first,))))  # type: ignore[arg-type]
    if options.get("pattern"):
        yield at.checked(lambda: rules.matches(name, str(options["pattern"]), **at.options(("pattern",))), "pattern")
    if options.get("multipleOf"):
        step = options["multipleOf"]
        yield at.checked(lambda: rules.multiple_of(name, step, **at.options(("multipleOf",))), "multipleOf")  # type: ignore[arg-type]
    if {"minItems", "maxItems", "uniqueItems"} & options.keys() and kind in ("array", ""):
        least, most, once = options.get("minItems"), options.get("maxItems"), bool(options.get("uniqueItems"))
        yield rules.items(name, low=least, high=most, unique=once, **at.options())  # type: ignore[arg-type]
    yield from _format_rules(name, at, kind, str(options.get("format") or ""))
    for required in _listed(options.get("required")) if kind == "object" else ():
        yield rules.not_null(f"{name}.{required}", **at.options(("required",)))


_LIMITS = {"minimum": "low", "exclusiveMinimum": "above", "maximum": "high", "exclusiveMaximum": "below"}


def _limits(options: Mapping[str, object]) -> Iterator[tuple[str, float | str]]:
    """Bounds of a value; in version 3.0 ``exclusiveMinimum`` is a flag that turns ``minimum`` strict."""
    for key, bound in _LIMITS.items():
        given = options.get(key)
        if isinstance(given, bool) or not isinstance(given, int | float | str):
            continue
        flag = options.get("exclusiveMinimum" if key == "minimum" else "exclusiveMaximum")
        strict = flag is True and key in ("minimum", "maximum")
        yield ({"low": "above", "high": "below"}[bound] if strict else bound), given


_WIDTHS = {"i": -1, "u": 0}


def _format_rules(name: str, at: Spot, kind: str, given: str) -> Iterator[Rule]:
    options: Options = at.options(("format",))
    if kind == "string" and given in FORMATS and given != "password":
        yield rules.format(name, given, **options)
    elif kind == "integer" and given[:1] in _WIDTHS and given[1:].isdigit():
        bits = int(given[1:])
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if given[0] == "i" else (0, 2**bits - 1)
        yield rules.between(name, low=low, high=high, **at.options(("format",), name=f"format:{name}"))
    elif kind in ("date", "timestamp", "time"):
        pattern = strptime_pattern(given) if given else None
        if pattern and "%-" not in pattern:
            yield rules.castable(name, kind, format=pattern, **options)  # type: ignore[arg-type]


def named_apart(found: Sequence[Rule]) -> tuple[Rule, ...]:
    """Return rules with distinct codes: what stands twice with one meaning is kept once, else it gets a number."""
    import msgspec

    kept: dict[str, Rule] = {}
    for rule in found:
        bare = msgspec.structs.replace(rule, origin=None)
        code, number = rule.code, 1
        while code in kept and msgspec.structs.replace(kept[code], origin=None, name=rule.name) != bare:
            number += 1
            code = f"{rule.code}#{number}"
        if code not in kept:
            kept[code] = rule if number == 1 else msgspec.structs.replace(rule, name=code)
    return tuple(kept.values())


_FRESHNESS = ("latency", "freshness", "ly", "fr")
_UNITS = {"d": "d", "day": "d", "days": "d", "h": "h", "hour": "h", "hours": "h", "m": "min", "min": "min",
          "minute": "min", "minutes": "min", "s": "s", "second": "s", "seconds": "s", "w": "w", "week": "w",
          "weeks": "w"}  # fmt: skip


def _with_promises(spot: Spot, tables: tuple[TableContract, ...]) -> tuple[TableContract, ...]:
    """Add a freshness rule to the table and column that a service level names."""
    import msgspec

    found: dict[int, list[Rule]] = {}
    for item in spot.each("slaProperties"):
        if str(item.value.get("property", "")).lower() not in _FRESHNESS:
            continue
        unit = _UNITS.get(str(item.value.get("unit", "")).lower())
        value = item.value.get("value")
        for element in str(item.value.get("element") or spot.value.get("slaDefaultElement") or "").split(","):
            table, _, column = element.strip().rpartition(".")
            for position, known in enumerate(tables):
                names = {known.name, known.physical_name, known.identifier}
                there = column in {item.name for item in known.columns} or not known.columns
                if column and there and (table in names or (not table and len(tables) == 1)) and unit:
                    rule = rules.fresh(column, within=f"{value}{unit}", **item.options(default="warn"))
                    found.setdefault(position, []).append(rule)
    return tuple(
        msgspec.structs.replace(table, rules=named_apart((*table.rules, *found.get(position, ()))))
        for position, table in enumerate(tables)
    )


def _promise_words(item: Mapping[str, object]) -> str:
    parts = (item.get("property"), item.get("value"), item.get("unit"), item.get("element"))
    return " ".join(str(part) for part in parts if part is not None)
