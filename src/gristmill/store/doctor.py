"""Looking at everything a store holds, naming what is damaged, and repairing what needs no guess.

Every commit that a ref leads to is walked down to the bytes of its files. A damaged or missing piece is repaired
only from a copy that has the same hash: in this store under another name, or in another store that is given. What
cannot be repaired is reported with what is lost and the newest state that is whole.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import blake3
import msgspec
from pyroaring import BitMap

from gristmill.errors import Corrupt, EngineError, GristmillError, NotFound
from gristmill.store.catalog import Catalog, insert_objects
from gristmill.store.files import content_path
from gristmill.store.garbage import all_files, below, lease_of
from gristmill.store.leases import live_leases
from gristmill.store.objects import (
    PARQUET,
    CommitObject,
    DataFile,
    Manifest,
    MapNode,
    Object,
    Oid,
    TableObject,
    Vector,
)
from gristmill.store.places import FOLDERS
from gristmill.store.units import unit_of

if TYPE_CHECKING:
    from gristmill.store.store import Store


class Damage(msgspec.Struct, frozen=True):
    """One thing that is not as it should be.

    Args:
        kind: ``catalog``, ``object``, ``file``, ``content``, ``table``, ``ref``, ``counter``, ``folder``, ``loose``.
        where: the path or hash.
        message: what is wrong.
        lost: what cannot be read because of it; empty if nothing is lost.
        hint: where a copy may be, or what to do.
        repaired: whether it was repaired.
    """

    kind: str
    where: str
    message: str
    lost: str = ""
    hint: str = ""
    repaired: bool = False


class Diagnosis(msgspec.Struct, frozen=True):
    """What a look at a store found.

    Args:
        damages: what is wrong, the worst first; empty if all is well.
        objects: objects looked at.
        files: files looked at.
        size_bytes: bytes read.
    """

    damages: tuple[Damage, ...]
    objects: int
    files: int
    size_bytes: int

    @property
    def healthy(self) -> bool:
        """Whether nothing is lost and nothing is left to repair; loose files are no damage."""
        return all(damage.repaired or damage.kind == "loose" for damage in self.damages)


def examine(store: Store, *, deep: bool, repair: bool, copies: Sequence[Path]) -> Diagnosis:
    """See `gristmill.store.Store.doctor`."""
    return _Look(store, deep=deep, repair=repair, copies=copies).all()


_NUMBERS = {
    "row": "row ids",
    "sequence": "sequence numbers",
    "field": "field ids",
    "spec": "numbers of partition specs",
    "partition": "ids of partition fields",
    "unit": "numbers of units",
}
"""What each counter gives out."""


class _Look:
    """One look at a store."""

    def __init__(self, store: Store, *, deep: bool, repair: bool, copies: Sequence[Path]) -> None:
        self.store = store
        self.deep = deep
        self.repair = repair
        self.copies = [Path(copy).absolute() for copy in copies]
        self.damages: list[Damage] = []
        self.objects: dict[Oid, bool] = {}
        self.paths: dict[str, str] = {}
        self.size = 0
        self.top: dict[tuple[str, str], int] = {}

    def all(self) -> Diagnosis:
        self._folders()
        if self._catalog():
            for kind, name, target in self.store.catalog.rows(
                "select kind, name, target from refs order by kind, name"
            ):
                self._ref(str(kind), str(name), bytes(target))
            self._reflog()
            self._counters()
            self._loose()
        return Diagnosis(tuple(self.damages), len(self.objects), len(self.paths), self.size)

    def _note(self, kind: str, where: str, message: str, **more: object) -> None:
        self.damages.append(Damage(kind, where, message, **more))  # type: ignore[arg-type]

    def _folders(self) -> None:
        for name in FOLDERS:
            path = self.store.path / name
            if not path.is_dir():
                if self.repair:
                    path.mkdir(parents=True)
                self._note("folder", str(path), f"the folder `{name}` is missing", repaired=self.repair)

    def _catalog(self) -> bool:
        try:
            found = [row[0] for row in self.store.catalog.rows("pragma integrity_check(5)")]
        except GristmillError as error:
            found = [error.message]
        if found == ["ok"]:
            return True
        where = str(self.store.path / "catalog.db")
        hint = "put a copy of catalog.db and catalog.db-wal in their place; the data files are untouched"
        self._note("catalog", where, f"the catalog is damaged: {found[0]}", lost="what it lists", hint=hint)
        return False

    # -- objects ------------------------------------------------------------------------------------

    def _ref(self, kind: str, name: str, target: Oid) -> None:
        before = len(self.damages)
        role = f"{kind} `{name}`"
        self._walk(target, role)
        broken = [damage for damage in self.damages[before:] if damage.lost and not damage.repaired]
        if broken and kind == "branch":
            whole = self._newest_whole(name)
            hint = f"gristmill restore {whole[:12]} --on {name}" if whole else ""
            self._note("ref", name, f"{role} leads to what is damaged", lost="see above", hint=hint)

    def _newest_whole(self, branch: str) -> str | None:
        """Return the newest commit of a branch whose own state can be read whole."""
        oid: Oid | None = self.store.head(branch)
        while oid is not None:
            value = self._value(oid)
            if not isinstance(value, CommitObject):
                return None
            if self._whole(value.tree):
                return oid.hex()
            oid = value.parents[0] if value.parents else None
        return None

    def _whole(self, oid: Oid) -> bool:
        waiting = [(oid, "")]
        while waiting:
            child, space = waiting.pop()
            value = self._value(child)
            if value is None:
                return False
            if isinstance(value, Manifest) and any(self.paths.get(f.path) for f in value.files if f.kind == PARQUET):
                return False
            waiting += list(below(value, space))
        return True

    def _walk(self, root: Oid, role: str) -> None:
        waiting: list[tuple[Oid, str, str]] = [(root, "", role)]
        while waiting:
            oid, space, place = waiting.pop()
            if oid in self.objects:
                continue
            value = self._load(oid, place)
            self.objects[oid] = value is not None
            if value is None:
                continue
            if isinstance(value, CommitObject):
                place = f"{role} at {oid.hex()[:12]}"
            if isinstance(value, Manifest):
                for file in value.files:
                    self._data_file(file, place)
            if isinstance(value, TableObject):
                self._table(oid, value, place)
            if isinstance(value, MapNode) and space == "contents":
                for path, entry in value.entries.items():
                    self._file(content_path(entry[8:].hex()), entry[8:], int.from_bytes(entry[:8], "big"), path, place)
            if isinstance(value, MapNode) and space == "units":
                self._units(value)
            names = {entry: name for name, entry in value.entries.items()} if isinstance(value, MapNode) else {}
            for child, role_below in below(value, space):
                shown = f"{space[:-1]} `{names[child]}` of {place}" if child in names else place
                waiting.append((child, role_below, shown))

    def _value(self, oid: Oid) -> Object | None:
        try:
            return self.store.catalog.fetch(oid)
        except (NotFound, Corrupt, EngineError):
            return None

    def _load(self, oid: Oid, place: str) -> Object | None:
        self.store.catalog.forget([oid])
        try:
            return self.store.catalog.fetch(oid)
        except (NotFound, Corrupt) as error:
            copy = self._object_copy(oid)
            if copy is not None and self.repair:
                with self.store.catalog.write() as db:
                    db.execute("delete from objects where id = ?", (oid,))
                    insert_objects(db, [(oid, *copy)])
                self._note("object", oid.hex(), error.message, repaired=True, hint="taken from a copy")
                return copy[0]
            hint = "run it with --repair" if copy else "another copy of the store may have it: doctor --copy PATH"
            self._note("object", oid.hex(), error.message, lost=place, hint=hint)
            return None

    def _object_copy(self, oid: Oid) -> tuple[Object, bytes] | None:
        from gristmill.store.objects import encode

        for copy in self.copies:
            if not (copy / "catalog.db").exists():
                continue
            catalog = Catalog(copy)
            try:
                value = catalog.fetch(oid)
                return value, encode(value)[1]
            except GristmillError:
                continue
            finally:
                catalog.close()
        return None

    def _table(self, oid: Oid, state: TableObject, place: str) -> None:
        from gristmill.store.tables import live_files

        try:
            files = list(live_files(self.store.catalog.fetch, state))
        except (NotFound, Corrupt):
            return
        live = sum(file.live for file in files)
        if (live, len(files)) != (state.rows, state.files):
            message = f"it counts {state.rows} rows in {state.files} files and has {live} in {len(files)}"
            self._note("table", oid.hex(), message, lost=place)
        for file in files:
            dead = BitMap()
            for vector in file.vectors:
                value = self._value(vector)
                dead |= BitMap.deserialize(value.positions) if isinstance(value, Vector) else BitMap()
            if len(dead) != file.dead or (dead and dead.max() >= file.rows):
                self._note("table", oid.hex(), f"the dead rows of file {file.first_row_id} do not add up", lost=place)
            self._used(state.uuid, "row", file.first_row_id + file.rows)
            self._used(state.uuid, "sequence", file.sequence + 1)
        self._used(state.uuid, "field", 1 + max((last for _, last in state.used), default=0))
        for spec in state.specs:
            self._used(state.uuid, "spec", spec.id + 1)
            self._used(state.uuid, "partition", 1 + max(field.id for field in spec.fields))

    def _used(self, lineage: str, name: str, end: int) -> None:
        self.top[lineage, name] = max(self.top.get((lineage, name), 0), end)

    def _units(self, node: MapNode) -> None:
        for key, value in node.entries.items():
            self._used(f"source:{key.partition(chr(0))[0]}", "unit", unit_of(value).number)

    # -- files --------------------------------------------------------------------------------------

    def _data_file(self, file: DataFile, place: str) -> None:
        if file.kind == PARQUET:
            self._file(file.path, file.hash, file.size, f"{file.live:,} rows", place)

    def _file(self, relative: str, digest: bytes, size: int, what: str, place: str) -> None:
        if relative in self.paths:
            return
        path = self.store.path / relative
        wrong = self._wrong(path, digest, size)
        if wrong and self.repair and (copy := self._file_copy(relative, digest, size)) is not None:
            self._take(copy, path)
            self._note("file", relative, wrong, repaired=True, hint=f"taken from {copy}")
            wrong = ""
        self.paths[relative] = wrong
        if wrong:
            copy_ = self._file_copy(relative, digest, size)
            hint = f"run it with --repair: {copy_} has it" if copy_ else "doctor --repair --copy PATH, if a copy has it"
            kind = "file" if relative.startswith("data/") else "content"
            self._note(kind, relative, wrong, lost=f"{what} of {place}", hint=hint)

    def _wrong(self, path: Path, digest: bytes, size: int) -> str:
        try:
            found = path.stat().st_size
            if found != size:
                return f"the file has {found} bytes instead of {size}"
            if self.deep:
                self.size += size
                if _digest(path) != digest:
                    return "the file's bytes are not what was written"
        except FileNotFoundError:
            return "the file is missing"
        except OSError as error:
            return f"the file cannot be read: {error.strerror}"
        return ""

    def _file_copy(self, relative: str, digest: bytes, size: int) -> Path | None:
        folder = relative.rsplit("/", 1)[0]
        for root in (self.store.path, *self.copies):
            for path in sorted((root / folder).glob(f"{digest.hex()}*")):
                if path == self.store.path / relative or path.stat().st_size != size:
                    continue
                if _digest(path) == digest:
                    return path
        return None

    def _take(self, copy: Path, path: Path) -> None:
        temporary = self.store.output.temporary(path.suffix)
        shutil.copyfile(copy, temporary)
        self.store.output.place(temporary, path)

    # -- the rest -----------------------------------------------------------------------------------

    def _counters(self) -> None:
        """Find numbers that are in use and would be given out again, as with the catalog of an old copy."""
        for (lineage, name), end in sorted(self.top.items()):
            row = self.store.catalog.one("select next from counters where lineage = ? and name = ?", (lineage, name))
            if (row is None and name == "unit") or (row is not None and int(row[0]) >= end):
                continue
            if self.repair:
                with self.store.catalog.write() as db:
                    db.execute(
                        "insert into counters values(?, ?, ?) on conflict do update set next = excluded.next",
                        (lineage, name, end),
                    )
            message = f"{_NUMBERS[name]} below {end} are in use and would be given out again"
            self._note("counter", lineage, message, hint="run it with --repair", repaired=self.repair)

    def _reflog(self) -> None:
        """Find refs that do not point where they were moved to last."""
        for kind, name, after, target in self.store.catalog.rows(
            "select l.kind, l.name, l.after, r.target from reflog l left join refs r on r.kind = l.kind and"
            " r.name = l.name where l.seq in (select max(seq) from reflog group by kind, name)"
            " and r.target is not l.after order by l.kind, l.name"
        ):
            if after is None:
                message, hint = "is there, and its log says that it was deleted", "look at what it holds, or delete it"
            elif target is None:
                message, hint = "is gone", f"gristmill {kind} {name} --at {after.hex()[:12]}"
            else:
                message, hint = "is not where it was moved to last", f"its log says {after.hex()[:12]}"
            self._note("ref", str(name), f"{kind} `{name}` {message}", hint=hint)

    def _loose(self) -> None:
        alive = live_leases(self.store.path)
        for path in all_files(self.store.path):
            relative = path.relative_to(self.store.path).as_posix()
            if relative not in self.paths and lease_of(path) not in alive:
                hint = "gristmill maintain removes it when its grace is over"
                self._note("loose", relative, "nothing that is kept refers to the file", hint=hint)


def _digest(path: Path) -> bytes:
    return blake3.blake3(max_threads=blake3.blake3.AUTO).update_mmap(path).digest()
