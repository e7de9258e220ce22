"""The command line: thin commands over the package; nothing heavy is imported before a command runs."""

from chiqpm.cli.main import main

__all__ = ["main"]
