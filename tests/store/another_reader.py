"""Another program: it reads a store by `docs/format.md` alone, with SQLite, Arrow and Parquet, and nothing of ours."""

from __future__ import annotations

import datetime as dt
import io
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

ROW_ID, SEQUENCE = 2147483540, 2147483539
Json = object


# -- MessagePack (https://github.com/msgpack/msgpack/blob/master/spec.md) --------------------------------


def unpack(data: bytes) -> Json:
    """Return the value of a MessagePack payload."""
    return _value(io.BytesIO(data))


_NUMBERS = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q"}
_NUMBERS |= {0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
_SIZED = {0xC4: (bytes, 1), 0xC5: (bytes, 2), 0xC6: (bytes, 4), 0xD9: (str, 1), 0xDA: (str, 2), 0xDB: (str, 4)}
_SIZED |= {0xDC: (list, 2), 0xDD: (list, 4), 0xDE: (dict, 2), 0xDF: (dict, 4)}


def _value(data: io.BytesIO) -> Json:
    code = data.read(1)[0]
    if code <= 0x7F:
        return code
    if code >= 0xE0:
        return code - 256
    if code <= 0xBF:
        kind, size = (dict, code & 15) if code <= 0x8F else (list, code & 15) if code <= 0x9F else (str, code & 31)
    elif code in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[code]
    elif code in _NUMBERS:
        form = _NUMBERS[code]
        return struct.unpack(form, data.read(struct.calcsize(form)))[0]
    else:
        kind, width = _SIZED[code]
        size = int.from_bytes(data.read(width), "big")
    if kind is dict:
        return {_value(data): _value(data) for _ in range(size)}
    if kind is list:
        return [_value(data) for _ in range(size)]
    raw = data.read(size)
    return raw.decode() if kind is str else raw


# -- roaring bitmaps (https://github.com/RoaringBitmap/RoaringFormatSpec) ---------------------------------


def positions(data: bytes) -> set[int]:
    """Return the numbers in a 32-bit roaring bitmap in the portable format."""
    (cookie,) = struct.unpack_from("<I", data)
    at, runs = 4, b""
    if cookie & 0xFFFF == 12347:
        count = (cookie >> 16) + 1
        runs = data[at : at + (count + 7) // 8]
        at += len(runs)
    else:
        assert cookie == 12346
        (count,) = struct.unpack_from("<I", data, at)
        at += 4
    headers = [struct.unpack_from("<HH", data, at + 4 * i) for i in range(count)]
    at += 4 * count
    if not runs or count >= 4:
        at += 4 * count
    found: set[int] = set()
    for i, (key, less_one) in enumerate(headers):
        high = key << 16
        if runs and runs[i // 8] >> (i % 8) & 1:
            (number,) = struct.unpack_from("<H", data, at)
            for j in range(number):
                start, length = struct.unpack_from("<HH", data, at + 2 + 4 * j)
                found.update(range(high + start, high + start + length + 1))
            at += 2 + 4 * number
        elif less_one + 1 > 4096:
            found.update(high + n for n in range(65536) if data[at + n // 8] >> (n % 8) & 1)
            at += 8192
        else:
            found.update(high + n for n in struct.unpack_from(f"<{less_one + 1}H", data, at))
            at += 2 * (less_one + 1)
    return found


# -- objects ---------------------------------------------------------------------------------------------


class Reader:
    """A store as it lies on the disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.db = sqlite3.connect(folder / "catalog.db")
        (found,) = self.db.execute("select value from meta where key = 'format'").fetchone()
        assert int(found) == 1

    def close(self) -> None:
        self.db.close()

    def object(self, oid: bytes) -> dict:
        (data,) = self.db.execute("select data from objects where id = ?", (oid,)).fetchone()
        return unpack(data)

    def commit(self, kind: str, name: str, back: int = 0) -> dict:
        (oid,) = self.db.execute("select target from refs where kind = ? and name = ?", (kind, name)).fetchone()
        found = self.object(oid)
        for _ in range(back):
            found = self.object(found["parents"][0])
        return found

    def entries(self, root: bytes | None) -> Iterator[tuple[str, bytes]]:
        """Yield the entries of a map."""
        if not root:
            return
        node = self.object(root)
        yield from node.get("entries", {}).items()
        for child in node.get("children", {}).values():
            yield from self.entries(child)

    def space(self, commit: dict, space: str) -> dict[str, bytes]:
        return dict(self.entries(self.object(commit["tree"]).get(space)))

    def files(self, commit: dict, root: str) -> dict[str, bytes]:
        """Return the contents of a tree of files by path."""
        found = {}
        for path, entry in self.entries(self.space(commit, "files")[root]):
            name = entry[8:].hex()
            found[path] = (self.folder / "files" / name[:2] / name).read_bytes()
            assert len(found[path]) == int.from_bytes(entry[:8], "big")
        return found

    # -- tables ------------------------------------------------------------------------------------------

    def below(self, oid: bytes | None) -> Iterator[dict]:
        """Yield the files of a manifest."""
        if oid is None:
            return
        node = self.object(oid)
        yield from node.get("files", [])
        for child in node.get("children", []):
            below = list(self.below(child["id"]))
            assert child["files"] == len(below)
            assert child["rows"] == sum(file["rows"] for file in below)
            assert child["live"] == sum(file["rows"] - file.get("dead", 0) for file in below)
            yield from below

    def table(self, commit: dict, name: str) -> list[dict]:
        """Return the rows of a table, hidden columns too, with ``_row_id`` and ``_sequence``."""
        state = self.object(self.space(commit, "tables")[name])
        fields = self.object(state["schema"])["schema"]["fields"]
        rows = []
        for file in [*self.below(state.get("root")), *self.below(state.get("tail"))]:
            found = self.rows(file, fields)
            self.check(file, found, fields, state)
            rows += found
        assert len(rows) == state.get("rows", 0)
        return rows

    def rows(self, file: dict, fields: list[dict]) -> list[dict]:
        """Return the live rows of one file as the table has its columns now."""
        if file.get("kind", "parquet") == "inline":
            own = self.object(file["schema"])["schema"]["fields"]
            data = pa.ipc.open_stream(self.object(file["hash"])["stream"]).read_all()
            named = {field["id"]: (field["name"], field["type"]) for field in own}
            if file.get("stored_ids"):
                named |= {ROW_ID: ("_row_id", "long"), SEQUENCE: ("_last_updated_sequence_number", "long")}
        else:
            name = file["hash"].hex()
            path = self.folder / "data" / name[:2] / f"{name}-{file['nonce'].hex()}.parquet"
            assert path.stat().st_size == file["size"]
            data = pq.ParquetFile(path).read()
            named = {_id(field): (field.name, _typed(field.type)) for field in data.schema}
        raw = data.to_pylist()
        assert len(raw) == file["rows"]
        dead: set[int] = set()
        for oid in file.get("vectors", []):
            dead |= positions(self.object(oid)["positions"])
        assert len(dead) == file.get("dead", 0)
        found = []
        for position, row in enumerate(raw):
            if position in dead:
                continue
            new = {}
            for field in fields:
                here, own_type = named.get(field["id"], (None, None))
                new[field["name"]] = seen_as(row.get(here), own_type, field["type"])
            stored = [row.get(named[i][0]) if i in named else None for i in (ROW_ID, SEQUENCE)]
            new["_row_id"] = file["first_row_id"] + position if stored[0] is None else stored[0]
            new["_sequence"] = file["sequence"] if stored[1] is None else stored[1]
            found.append(new)
        return found

    def check(self, file: dict, rows: list[dict], fields: list[dict], state: dict) -> None:
        """Check that the rows are of the file's partition, and within its bounds."""
        names = {field["id"]: (field["name"], field["type"]) for field in fields}
        own = {field["id"]: field["type"] for field in self.object(file["schema"])["schema"]["fields"]}
        specs = {spec["id"]: spec["fields"] for spec in state.get("specs", [])}
        for field, value in zip(specs.get(file.get("spec", 0), []), file.get("partition", []), strict=True):
            name, type_ = names.get(field["source"], ("", None))
            if type_ == own.get(field["source"]):
                for row in rows:
                    assert divided(field["transform"], row[name]) == value
        for number, stats in file.get("stats", {}).items():
            nulls, lower, upper = [*stats, None, None, None][:3]
            name, type_ = names.get(number, ("", None))
            if not isinstance(type_, str):
                continue
            values = [bound(row[name]) for row in rows if row[name] is not None and row[name] == row[name]]
            if nulls == 0:
                assert all(row[name] is not None for row in rows)
            if lower is not None:
                assert all(lower <= value for value in values), (name, lower)
            if upper is not None:
                assert all(value <= upper for value in values), (name, upper)


def _id(field: pa.Field) -> int:
    return int((field.metadata or {}).get(b"PARQUET:field_id", b"-1"))


def _typed(type_: pa.DataType) -> Json:
    """Return the type of a Parquet column with the ids of what is in it."""
    if pa.types.is_struct(type_):
        fields = [{"id": _id(child), "name": child.name, "type": _typed(child.type)} for child in type_]
        return {"type": "struct", "fields": fields}
    if pa.types.is_list(type_):
        return {"type": "list", "element": _typed(type_.value_type)}
    if pa.types.is_map(type_):
        return {"type": "map", "key": _typed(type_.key_type), "value": _typed(type_.item_type)}
    return str(type_)


def seen_as(value: object, own: Json, new: Json) -> object:
    """Return a value of a file as the table has it now: what is nested goes by id, what is narrower is widened."""
    if value is None or own is None:
        return None
    if isinstance(own, dict) and own["type"] == "struct":
        names = {field["id"]: field for field in own["fields"]}
        found = {}
        for field in new["fields"]:
            old = names.get(field["id"])
            found[field["name"]] = seen_as(value[old["name"]], old["type"], field["type"]) if old else None
        return found
    if isinstance(own, dict) and own["type"] == "list":
        return [seen_as(item, own["element"], new["element"]) for item in value]
    if isinstance(own, dict):
        return [(seen_as(k, own["key"], new["key"]), seen_as(v, own["value"], new["value"])) for k, v in value]
    if new == "double" and isinstance(value, int):
        return float(value)
    if str(new).startswith("timestamp") and type(value) is dt.date:
        return dt.datetime.combine(value, dt.time())
    return value


EPOCH = dt.date(1970, 1, 1)


def divided(transform: str, value: object) -> object:
    """Return the partition of a value: of a number or a text where it is a bucket."""
    if value is None:
        return None
    if transform == "day":
        return (value - dt.datetime(1970, 1, 1)).days if isinstance(value, dt.datetime) else (value - EPOCH).days
    if transform == "month":
        return (value.year - 1970) * 12 + value.month - 1
    if transform.startswith("truncate"):
        width = int(transform[9:-1])
        return value[:width] if isinstance(value, str) else value - value % width
    if transform.startswith("bucket"):
        data = value.to_bytes(8, "little", signed=True) if isinstance(value, int) else str(value).encode()
        return (murmur3(data) & 0x7FFF_FFFF) % int(transform[7:-1])
    assert transform == "identity"
    return value


def murmur3(data: bytes) -> int:
    """Return the 32-bit hash of Murmur3 for x86 with seed 0, by which Iceberg divides into buckets."""
    found, whole = 0, len(data) // 4 * 4
    for at in range(0, whole, 4):
        found = _turned(found ^ _mixed(int.from_bytes(data[at : at + 4], "little")), 13) * 5 + 0xE654_6B64 & _WORD
    found ^= _mixed(int.from_bytes(data[whole:], "little")) ^ len(data)
    for shift, factor in ((16, 0x85EB_CA6B), (13, 0xC2B2_AE35), (16, 1)):
        found = (found ^ found >> shift) * factor & _WORD
    return found


_WORD = 0xFFFF_FFFF


def _turned(word: int, by: int) -> int:
    return (word << by | word >> 32 - by) & _WORD


def _mixed(word: int) -> int:
    return _turned(word * 0xCC9E_2D51 & _WORD, 15) * 0x1B87_3593 & _WORD


def bound(value: object) -> object:
    """Return a value in the form that bounds have."""
    if isinstance(value, dt.datetime):
        return round((value.replace(tzinfo=None) - dt.datetime(1970, 1, 1)) / dt.timedelta(microseconds=1))
    if isinstance(value, dt.date):
        return (value - EPOCH).days * 86_400_000_000
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return float(value) if type(value).__name__ == "Decimal" else value
