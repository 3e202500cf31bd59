"""[gateway.curve]. Apart from keys.py, which imports ZeroMQ: a config is read without it."""

from __future__ import annotations

from protocol.section import Section


class CurveSettings(Section, frozen=True, kw_only=True):
    """The outer sockets speak CURVE, and only to those on the list."""

    keys: str
    """Directory of `seawall keys`."""
    client_key: str = ""
    """The file of a client's key, for the command line: `seawall VERB CONFIG --endpoint URL`."""
