"""The version of hrkit, which files that it writes record."""

__version__ = "0.1.0"
