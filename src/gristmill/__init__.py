"""gristmill: the data-engineering platform for machine learning."""

from gristmill._version import __version__

__all__ = ["__version__"]
