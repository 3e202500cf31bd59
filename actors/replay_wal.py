"""wal in a replay: the ring's tokens go through it, and what they are about goes with them.

Records wait for nobody's sync (a resumed replay goes over them again), and are sent on with the token behind which
their hearer acts on them: so a turn of the ring costs each of its members one waking. Who has no token, as the gateway,
is fed now and then. Nothing depends on when: the bytes of the journal are a function of config and data.
"""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec

from actors.base import Place
from actors.clock import monotonic_s
from actors.stream import Consumer
from actors.wal import Wal
from protocol.errors import WalError
from protocol.messages import Append, Done, Grant, Statistics
from protocol.positions import START, is_quantum_end
from protocol.settings import config_hash
from protocol.wal import Journal
from protocol.wal.storage import MemoryStorage

FEED_EVERY_S: Final = 0.02
"""Those who have no token hear of what there is, and at the end everybody."""


class ReplayWal(Wal):
    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.always = False
        self.event_us = 0
        """The time of the newest record that was appended."""
        self._fed_s = 0.0
        self.loop.every(FEED_EVERY_S, lambda: None)

    def make_journal(self, directory: Path) -> Journal:
        if not self.config.wal.enabled:
            return Journal(directory, sync="off", storage=MemoryStorage())
        return Journal(directory, sync="interval")

    def make_journal_id(self) -> bytes:
        """Of the config and the data, so that the same run has the same bytes."""
        from actors.sources import make_source

        ids = {instrument.symbol: number for number, instrument in enumerate(self.config.instruments)}
        return blake2b(config_hash(self.config) + make_source(self.config, ids, 1).epoch, digest_size=16).digest()

    def time_us(self) -> int:
        """Of what came before."""
        return self.event_us

    def statistics(self) -> Statistics:
        return msgspec.structs.replace(super().statistics(), lsn=self.journal.tail_lsn)

    # The ring.

    def on_token(self, consumer: Consumer, token: Grant | Done) -> None:
        """It goes on to whom it is for, behind the records that came before it."""
        if self.batch:
            self.write()
        if isinstance(token, Grant):
            hearers = [c for c in self.server.consumers.values() if c.name == "risk" or c.name.startswith("strategy.")]
            if token.venue > START and is_quantum_end(token.venue, self.config.replay.quantum):
                self.sync()
        else:
            hearers = [c for c in self.server.consumers.values() if c.name == "order_routing"]
        token, now = msgspec.structs.replace(token, lsn=self.journal.tail_lsn), monotonic_s()
        for hearer in hearers:
            self.server.feed(hearer, now)
            if not self.server.tell(hearer, token):
                raise WalError(f"the ring is broken: {hearer.name} cannot be told {type(token).__name__}")

    def on_append(self, consumer: Consumer, append: Append, payload: bytes) -> None:
        super().on_append(consumer, append, payload)
        if self.batch:
            self.event_us = self.batch[-1][1]

    def write(self) -> None:
        super().write()
        self.backlog.released = self.journal.tail_lsn

    def sync_is_due(self) -> bool:
        """By no clock: what an entry says of the disk would depend on it."""
        return False

    def commit(self) -> None:
        now = monotonic_s()
        self.look_at_disk()
        if self.hellos:
            if self.batch:
                self.write()
            self.answer_hellos()
            self._fed_s = 0.0
        if now - self._fed_s >= FEED_EVERY_S or self.stopping:
            self._fed_s = now
            if self.batch:
                self.write()
            self.server.pump()
            self.write_watermark()
