"""What operations mean here."""

VERSION = 1
FORMULAS: dict[str, str] = {}
