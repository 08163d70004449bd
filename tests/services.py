"""Real servers for tests that carry the mark ``service``.

PostgreSQL: the one that GRISTMILL_TEST_POSTGRES names (a URL whose user may create databases), else a private one
from the programs found here, started for the session in a folder of its own. Where there is neither, such tests are
skipped; with GRISTMILL_REQUIRE_SERVICES=1 they fail instead.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_PLACES = ["/usr/lib/postgresql/*/bin", "/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin"]


def missing(why: str) -> None:
    """Skip the test that needs a server, or fail it where servers are required."""
    if os.environ.get("GRISTMILL_REQUIRE_SERVICES") == "1":
        pytest.fail(f"{why}, and GRISTMILL_REQUIRE_SERVICES=1")
    pytest.skip(why)


@contextmanager
def postgres_server() -> Iterator[str]:
    """Give the URL of a server that is there for the session."""
    given = os.environ.get("GRISTMILL_TEST_POSTGRES")
    if given:
        yield given
        return
    programs = _programs()
    if programs is None:
        missing("no PostgreSQL server is installed (Debian: apt install postgresql)")
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="gm-pg-"))
    user = _other_user() if os.geteuid() == 0 else None
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
    port = free_port()
    data = folder / "data"
    _run(programs / "initdb", "-D", data, "-U", "gristmill", "-A", "trust", "-E", "UTF8", "--no-locale", user=user)
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
    _run(programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start", user=user)
    try:
        yield f"postgresql://gristmill:not-a-real-secret@127.0.0.1:{port}/postgres"
    finally:
        _run(programs / "pg_ctl", "-D", data, "-m", "immediate", "stop", user=user)
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path | None:
    found = [path for pattern in _PLACES for path in sorted(Path("/").glob(pattern[1:])) if (path / "initdb").exists()]
    on_path = shutil.which("initdb")
    return found[-1] if found else Path(on_path).parent if on_path else None


def _other_user() -> pwd.struct_passwd:
    """PostgreSQL does not run as root; give it to its own user, or to nobody."""
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    missing("running as root, and there is no other user for PostgreSQL")
    raise AssertionError


def free_port() -> int:
    """Return a port of loopback that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _run(*words: object, user: pwd.struct_passwd | None) -> None:
    who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user is not None else {}
    done = subprocess.run(
        [str(word) for word in words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
        env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
        check=False,
        **who,  # type: ignore[arg-type]
    )
    if done.returncode:
        raise RuntimeError(f"{words[0]} failed: {done.stderr}")
