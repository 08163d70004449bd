"""``python -m gristmill``: the command line."""

from gristmill.cli import main

main()
