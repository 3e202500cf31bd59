"""Bytes and rules: every format, every check, no sockets but client.py, no files but wal/."""

VERSION = "0.1.0"
"""Of the engine; the package's own is read from here."""
