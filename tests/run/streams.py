"""A small project that follows growing files, and what both paces must agree on."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import ibis

import gristmill as gm


def event(number: int, *, at_s: int | None = None, key: str | None = None, x: int | None = None) -> dict[str, object]:
    second = number if at_s is None else at_s
    moment = f"2026-01-01T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z"
    return {"n": number, "k": key or "abc"[number % 3], "x": number * 7 % 101 if x is None else x, "at": moment}


def lines(events: Iterable[dict[str, object]]) -> str:
    return "".join(json.dumps(found) + "\n" for found in events)


def append(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(text)


def project(root: Path, connector: object = None, **more: object) -> gm.Project:
    """Rows, windows of a minute, and an as-of join with the windows of another kind."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "gristmill.toml").write_text("[run]\nworkers = 1\n")
    made = gm.Project(root)
    types = {"n": "int64", "k": "string", "x": "int64", "at": "timestamp"}
    options = {"event_time": gm.event_time("at", bound="30s", ahead="36500d"), **more}
    raw = made.source("raw.ev", connector or gm.tail("in/*.ndjson", types=types), **options)  # type: ignore[arg-type]

    @made.table("clean.ev", reads=[raw])
    def clean(ev: ibis.Table) -> ibis.Table:
        return ev.filter(ev.x > 3).mutate(at=ev.at.cast("timestamp"))

    @made.table("marts.minute", reads=[clean], key=["minute", "k"])
    def minute(ev: ibis.Table) -> ibis.Table:
        started = ev.at.truncate("m")
        return ev.group_by(minute=started, k=ev.k).agg(n=ev.count(), x=ev.x.sum(), mean=(ev.x / 3).sum())

    @made.table("marts.previous", reads=[clean, minute])
    def previous(ev: ibis.Table, minutes: ibis.Table) -> ibis.Table:
        seen = minutes.select("k", "x", at=minutes.minute + ibis.interval(minutes=1))
        return gm.asof_join(ev, seen, on="at", by="k", within="1h").select("n", "k", "at", "x_right")

    return made


TABLES = ("raw.ev", "clean.ev", "marts.minute", "marts.previous")


def digests(made: gm.Project, names: Iterable[str] = TABLES) -> dict[str, str]:
    snapshot = made.store.snapshot("main")
    return {name: snapshot.digest(name) for name in names}


def after(batches: int) -> tuple[Callable[[], bool], Callable[[object], None]]:
    """Return a stop that says so when this many batches are committed, and the listener that counts them."""
    seen: list[object] = []

    def listen(found: object) -> None:
        if type(found).__name__ == "BatchCommitted":
            seen.append(found)

    return (lambda: len(seen) >= batches), listen
