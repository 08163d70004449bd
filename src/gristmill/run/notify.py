"""Tell someone: one JSON message to a web hook when a run is refused or fails, or is well again."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping

from gristmill.define import Settings
from gristmill.run.records import RunRecord

_WAIT_S = 10.0


def message_of(record: RunRecord, *, project: str) -> dict[str, object]:
    """Return the message for a run; ``text`` is what chat tools show."""
    first = next((finding for finding in record.findings if finding.blocks), None)
    reason = f"{first.table}: {first.words} ({first.seen})" if first else record.message
    words = f"{project}: {record.run} on {record.on} {record.status}" + (f": {reason}" if reason else "")
    return {
        "text": words,
        "v": 1,
        "event": "run",
        "project": project,
        "run": record.run,
        "on": record.on,
        "status": record.status,
        "commit": record.head,
        "message": record.message,
        "code": record.code,
    }


def notify(
    settings: Settings, record: RunRecord, previous: RunRecord | None, *, environ: Mapping[str, str] = os.environ
) -> str | None:
    """Send a message where the settings name a web hook and there is news; return what went wrong, if anything.

    News is a failed run, or the first good one after a failed one. A hook that does not answer never fails a run.
    """
    url = settings.notify.url
    recovered = record.status == "published" and previous is not None and previous.status == "failed"
    if not url or not (record.status == "failed" or recovered):
        return None
    name = url.removeprefix("env:")
    target = environ.get(name, "") if url.startswith("env:") else url
    if not target.startswith(("http://", "https://")):
        return f"[notify] url: {name} holds no http address"
    body = json.dumps(message_of(record, project=settings.project.name or "gristmill")).encode()
    request = urllib.request.Request(target, data=body, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=_WAIT_S):
            return None
    except (urllib.error.URLError, OSError) as error:
        return f"the message could not be sent: {getattr(error, 'reason', error)}"
