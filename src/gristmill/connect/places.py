"""Where files are: listing by pattern, opening, decompressing, and hashing what is read.

A place is a local path or any fsspec URL. A member of a zip archive is written ``archive.zip!member`` and
read in
place: nothing is ever unpacked to disk, so a member's name can lead nowhere.
"""

from __future__ import annotations

import glob
import io
import re
import zipfile
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, NamedTuple, TypeVar, cast

from gristmill.errors import DataError, EngineError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fsspec import AbstractFileSystem

_Given = TypeVar("_Given")
BLOCK_BYTES = 8 << 20
MEMBERS_LIMIT = 10_000
CODECS = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd", ".zip": "zip"}
_MEMBER = "!"
_ZIPPED = re.compile(r"(.*?\.zip)!(.+)", re.DOTALL | re.IGNORECASE)
_QUERY = re.compile(r"(https?://[^\s'\"?]+)\?[^\s'\")]*")
_GONE = (404, 410)
"""What a web server answers where there is no such file."""


class Seen(NamedTuple):
    """A file as a stat call shows it."""

    name: str
    size_bytes: int
    modified_ns: int


def is_url(text: str) -> bool:
    """Whether a pattern or name is an fsspec URL rather than a local path."""
    return "://" in text


def codec_of(name: str, compression: str | None) -> str:
    """Return ``gzip``, ``zstd``, ``zip`` or ``plain`` for a file name and what was declared."""
    if compression is not None:
        return compression
    return "zip" if _ZIPPED.match(name) else CODECS.get(PurePosixPath(plain_name(name)).suffix.lower(), "plain")


def outer_name(name: str) -> str:
    """Return the archive that a member is of, and any other unit's name as it is."""
    found = _ZIPPED.match(name)
    return found[1] if found else name


def plain_name(name: str) -> str:
    """Return a unit's name without what follows the path of a URL.

    >>> plain_name("https://host/a.csv?token=1")
    'https://host/a.csv'
    """
    return name.split("?")[0] if is_url(name) and name.startswith("http") else name


def archive_of(name: str) -> tuple[str, str]:
    """Return the archive and the member that a unit of a zip archive names."""
    found = _ZIPPED.match(name)
    archive, _, member = (found[1], _MEMBER, found[2]) if found else name.partition(_MEMBER)
    return archive, member


def listed(root: Path, pattern: str, compression: str | None) -> list[Seen]:
    """Return the files that a pattern names, sorted by name; zip archives as their members.

    Raises:
        EngineError: the place cannot be reached.
        DataError: an archive is damaged or breaks a limit.
    """
    seen = _listed_remote(pattern) if is_url(pattern) else _listed_local(root, pattern)
    out: list[Seen] = []
    for file in seen:
        members = codec_of(file.name, compression) == "zip"
        out += _members(root, file, pattern) if members else [file]
    return sorted(out)


def _listed_local(root: Path, pattern: str) -> list[Seen]:
    full = root / pattern
    if full.is_file():
        paths = [full]
    else:
        inside = f"{glob.escape(pattern)}/**/*" if full.is_dir() else pattern
        paths = [root / name for name in glob.glob(inside, root_dir=root, recursive=True)]  # noqa: PTH207
    out = []
    for path in paths:
        inner = path.relative_to(root).parts if path.is_relative_to(root) else (path.name,)
        if path.is_file() and not any(part.startswith((".", "_")) and "=" not in part for part in inner):
            stat = path.stat()
            out.append(Seen(_unit_name(root, path), stat.st_size, stat.st_mtime_ns))
    return out


def _unit_name(root: Path, path: Path) -> str:
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def _listed_remote(pattern: str) -> list[Seen]:
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(pattern)
        found = _linked(system, path) if "http" in system.protocol else _found(system, path, "*?[")
    except (ImportError, ValueError) as error:
        hint = "install the package that fsspec asks for" if isinstance(error, ImportError) else ""
        raise EngineError(f"cannot list {shown(pattern)}: {error}", where=shown(pattern), hint=hint or None) from error
    except Exception as error:  # every file system behind fsspec has errors of its own
        words, where = _words(error), shown(pattern)
        raise EngineError(f"cannot list {where}: {words}", where=where, retryable=True) from error
    return [
        Seen(plain_name(system.unstrip_protocol(name)), int(str(info.get("size") or 0)), _modified_ns(info))
        for name, info in found.items()
        if info.get("type") == "file"
    ]


def _found(system: AbstractFileSystem, path: str, marks: str) -> dict[str, dict[str, object]]:
    look = system.glob if any(mark in path for mark in marks) else system.find
    return dict(look(path, detail=True))


def _linked(system: AbstractFileSystem, path: str) -> dict[str, dict[str, object]]:
    """Return a file of a web server, or what a page links to; a server that does not answer is an error.

    fsspec finds nothing at a plain address, and takes a page that cannot be read for an empty one.
    """
    plain = min((at for mark in "*[?" if (at := path.find(mark)) >= 0), default=len(path))
    if path[plain : plain + 1] in ("*", "[") or path.endswith("/"):
        system.ls(path[:plain].rpartition("/")[0] + "/", detail=False)
        return _found(system, path, "*[")
    try:
        return {path: system.info(path)}
    except FileNotFoundError as error:
        if error.__cause__ is not None and getattr(error.__cause__, "status", None) not in _GONE:
            raise error.__cause__ from None
        return {}


def _words(error: Exception) -> str:
    return _QUERY.sub(r"\1", str(error)) or type(error).__name__


def shown(pattern: str) -> str:
    """Return a pattern without the user and password of a URL, and without what follows a web address.

    >>> shown("https://ana:secret@host/a.csv?token=secret")
    'https://host/a.csv'
    """
    scheme, sign, rest = pattern.partition("://")
    host, slash, path = rest.partition("/")
    if not sign or not ("@" in host or scheme.startswith("http")):
        return pattern
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}"


def _modified_ns(info: dict[str, object]) -> int:
    for key in ("LastModified", "last_modified", "mtime", "modified", "updated", "created"):
        value = info.get(key)
        if value is not None and hasattr(value, "timestamp"):
            return int(value.timestamp() * 1e9)
        if isinstance(value, int | float):
            return int(value * 1e9)
    return 0


def _members(root: Path, archive: Seen, pattern: str) -> list[Seen]:
    with opened(root, archive.name, pattern) as file, _zip(file, archive.name) as bundle:
        infos = [info for info in bundle.infolist() if not info.is_dir()]
        if len(infos) > MEMBERS_LIMIT:
            raise DataError(f"the archive holds more than {MEMBERS_LIMIT} files", where=archive.name)
        if sum(info.compress_size for info in infos) > archive.size_bytes:
            raise DataError("the archive's files overlap", where=archive.name, code="GM-D111")
        for info in infos:
            _check_member(info, archive.name)
        return [
            Seen(f"{archive.name}{_MEMBER}{info.filename}", info.compress_size, archive.modified_ns)
            for info in infos
            if not any(part.startswith((".", "__MACOSX")) for part in info.filename.split("/"))
        ]


def _check_member(info: zipfile.ZipInfo, archive: str) -> None:
    parts = info.filename.split("/")
    if ".." in parts or parts[0] == "" or "\\" in info.filename or "\0" in info.filename or ":" in parts[0]:
        raise DataError(f"the archive holds the unsafe name {info.filename!r}", where=archive, code="GM-D111")
    if info.flag_bits & 1:
        raise DataError(f"{info.filename!r} is encrypted", where=archive, code="GM-D111")


@contextmanager
def _zip(file: IO[bytes], name: str) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(file) as bundle:
            yield bundle
    except (zipfile.BadZipFile, NotImplementedError, KeyError) as error:
        raise DataError(f"the archive cannot be read: {error}", where=name, code="GM-D111") from error


@contextmanager
def opened(root: Path, name: str, pattern: str = "") -> Iterator[IO[bytes]]:
    """Open a file, as its bytes are, at a unit name.

    Args:
        root: the folder that unit names are relative to.
        name: the unit's name.
        pattern: the URL by which it was found, which may name a host or a token that the unit's name does not.

    Raises:
        EngineError: it cannot be opened or read.
    """
    try:
        if is_url(name):
            import fsspec

            try:
                system, whole = fsspec.core.url_to_fs(pattern if is_url(pattern) else name)
                path = whole if plain_name(pattern) == name else system._strip_protocol(name)
                remote = system.open(path, "rb")
            except Exception as error:
                raise EngineError(f"cannot read: {_words(error)}", where=name, retryable=True) from error
            with remote:
                yield cast("IO[bytes]", _Remote(remote, name))
        else:
            with (root / name).open("rb") as file:
                yield file
    except OSError as error:
        message = f"cannot read: {error.strerror or error}"
        raise EngineError(message, where=name, retryable=True) from error


class _Remote(io.RawIOBase):
    """A file behind fsspec, whose errors are those of this package."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        super().__init__()
        self._file, self._name = file, name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.seekable()

    def read(self, size: int = -1) -> bytes:
        return self._done(self._file.read, size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._done(self._file.seek, offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def _done(self, act: Callable[..., _Given], *arguments: int) -> _Given:
        try:
            return act(*arguments)
        except Exception as error:
            raise EngineError(f"cannot read: {_words(error)}", where=self._name, retryable=True) from error


class Content:
    """The bytes of one unit, block by block, decompressed; ``digest`` is of the bytes as found.

    Args:
        root: the folder that unit names are relative to.
        name: the unit's name.
        compression: ``gzip``, ``zstd``, ``zip``, ``plain``, or None to go by the name.
        expected: the digest that the content must have, where it is known.
        pattern: the URL by which it was found, where it was.
    """

    def __init__(
        self,
        root: Path,
        name: str,
        compression: str | None = None,
        *,
        expected: str | None = None,
        pattern: str = "",
    ) -> None:
        self._expected, self._pattern = expected, pattern
        self._root = root
        self._name = name
        self._codec = codec_of(name, compression)
        self.digest = ""
        self.read_bytes = 0

    @contextmanager
    def reader(self) -> Iterator[Callable[[int], bytes]]:
        """Open the unit; yields ``read(n)``. The digest stands when the end was reached."""
        from blake3 import blake3

        hasher = blake3()
        archive, member = archive_of(self._name)
        with opened(self._root, archive if self._codec == "zip" else self._name, self._pattern) as file:
            if self._codec == "zip":
                with _zip(file, archive) as bundle, bundle.open(member) as part:
                    yield self._guarded(_Tee(part, hasher, self).read)
            elif self._codec == "plain":
                yield _Tee(file, hasher, self).read
            else:
                tee = _Tee(file, hasher, self)
                with _decompressed(tee, self._codec) as read:
                    yield self._guarded(read)
                while tee.read(BLOCK_BYTES):
                    pass
        self.digest = hasher.hexdigest()
        if self._expected not in (None, self.digest):
            raise DataError(
                "the file changed while it was read",
                where=self._name,
                code="GM-D120",
                hint="deliver files under another name and rename them when whole",
                retryable=True,
            )

    def _guarded(self, read: Callable[[int], bytes]) -> Callable[[int], bytes]:
        def guarded(size: int) -> bytes:
            try:
                return bytes(read(size))
            except (OSError, EOFError, zipfile.BadZipFile, ValueError) as error:
                message = f"the {self._codec} content is damaged: {error}"
                raise DataError(message, where=self._name, code="GM-D111") from error

        return guarded

    def blocks(self) -> Iterator[bytes]:
        """Yield the content in blocks of 8 MiB."""
        with self.reader() as read:
            while block := _full(read, BLOCK_BYTES):
                yield block


def _full(read: Callable[[int], bytes], size: int) -> bytes:
    """Read this many bytes, or what is left."""
    first = read(size)
    if not first or len(first) == size:
        return first
    parts, have = [first], len(first)
    while have < size and (part := read(size - have)):
        parts.append(part)
        have += len(part)
    return b"".join(parts)


class _Tee(io.RawIOBase):
    """Reads from a file and hashes what it reads."""

    def __init__(self, file: IO[bytes], hasher: object, content: Content) -> None:
        super().__init__()
        self._file = file
        self._hasher = hasher
        self._content = content

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        self._hasher.update(block)  # type: ignore[attr-defined]
        self._content.read_bytes += len(block)
        return block


@contextmanager
def _decompressed(file: io.RawIOBase, codec: str) -> Iterator[Callable[[int], bytes]]:
    import gzip

    import pyarrow as pa

    if codec == "gzip":
        with gzip.GzipFile(fileobj=file, mode="rb") as plain:
            yield plain.read
    elif codec == "zstd":
        with pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd") as stream:
            yield stream.read
    else:
        raise UsageError(f"no compression is called `{codec}`", hint="use gzip, zstd, zip or plain")


def digest_of(root: Path, name: str, compression: str | None = None, *, pattern: str = "") -> str:
    """Return the blake3 (hex) of a unit's bytes as found (a zip member's: of its content)."""
    raw = compression if codec_of(name, compression) == "zip" else "plain"
    content = Content(root, name, raw, pattern=pattern)
    for _ in content.blocks():
        pass
    return content.digest
