"""The one error family of the package: what a user did or has, said so that it can be mended."""

from __future__ import annotations


class ChiqpmError(ValueError):
    """Something the caller gave can't be used; the message says what was received, what is allowed, what to do.

    The command line prints the message without a traceback and exits with 2.
    """


class DamagedFileError(ChiqpmError):
    """A file that chiqpm wrote isn't what it was: cut short, changed, or of something else."""
