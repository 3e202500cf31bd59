"""Who may say HELLO to a producer: the children of this engine, each in a life that it has begun; others may follow.

The sockets stand in a directory of the operator's own, so what comes there is a mistake rather than an attack; but one
HELLO with a number that no life has would shut the real child out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from actors.base import page_path
from actors.page import read_health
from protocol.records import Producer
from protocol.settings import Config

_PRODUCERS: Final = {
    "wal": Producer.WAL,
    "risk": Producer.RISK,
    "order_routing": Producer.ORDER_ROUTING,
    "gateway": Producer.GATEWAY,
    "market_data": Producer.MARKET_DATA,
}


class Peers:
    def __init__(self, run_dir: Path, config: Config) -> None:
        self._run_dir = run_dir
        self._producers: dict[str, int] = dict(_PRODUCERS)
        self._producers |= {f"strategy.{strategy.name}": 0 for strategy in config.strategies}

    def may_speak(self, name: str, incarnation: int, producer: int = 0) -> bool:
        """The producer number is the child's own or none, and its life not beyond the one that its page tells of; one
        without a page may be in any. Who is no child is no producer."""
        if producer not in (0, self._producers.get(name)) or incarnation < 0:
            return False
        if name not in self._producers:
            return True
        begun = read_health(page_path(self._run_dir, name)).incarnation
        return not begun or incarnation <= begun


def speaker_of(identity: bytes) -> tuple[str, int]:
    """(name, incarnation) of `name#incarnation`; incarnation -1 for what is no number."""
    name, _, incarnation = identity.decode("utf-8", "replace").rpartition("#")
    return name, int(incarnation) if incarnation.isdecimal() else -1
