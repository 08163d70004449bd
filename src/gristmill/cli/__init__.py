"""The command line: a thin skin over ``api``; one file per verb in ``verbs/``, loaded when it is called.

Read ``app.py`` first (the list of verbs and how one is found), then any file in ``verbs/``. ``render.py`` draws
events and refusals, ``output.py`` writes tables and JSON lines, ``options.py`` holds the options that many verbs
share.

May import ``api`` and what is below it; nothing heavy at module level.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code; ``arguments`` default to those of the process."""
    from gristmill.cli.app import run

    raise SystemExit(run(arguments))
