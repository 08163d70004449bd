"""One file per verb, named after it; each holds ``command``. Imports ``cli`` and ``api``."""
