"""risk in a replay: the shell of the ring's risk (ring/risk.py) around the same book as in a live engine.

Talks to: strategies (signals, REACHED), wal (tail, appends, tokens), market_data (ticks).
"""

from __future__ import annotations

from actors.base import Place
from actors.frames import receive_all
from actors.peers import speaker_of
from actors.replay import ReplayActor
from actors.ring.risk import RiskCore
from actors.risk_book import RiskBook
from protocol.codec import MarketPayload
from protocol.errors import WireError
from protocol.messages import Done, Grant, Intent, Reached, decode_message
from protocol.orders import TradingMode
from protocol.pipeline import SIGNALS
from protocol.positions import tick_position
from protocol.records import FIRST_STRATEGY, Checkpoint, EngineRun, Producer, Record, TradingState
from protocol.ring_state import encode_ring
from protocol.wal.format import Envelope


class ReplayRisk(ReplayActor):
    def __init__(self, place: Place) -> None:
        super().__init__(place, producer=Producer.RISK)
        self.core: RiskCore

    def begin(self, run: EngineRun | None) -> None:
        assert run is not None, "wal has said the id tables"
        ids = {f"strategy.{name}": number for number, name in enumerate(run.strategies, FIRST_STRATEGY)}
        self.strategy_ids = {f"strategy.{s.name}": ids[f"strategy.{s.name}"] for s in self.config.traders}
        self.core = RiskCore(
            lambda append, is_halted: RiskBook(self.config, self.fold, append, is_halted), self.strategy_ids.values(),
            latency_us=self.config.order_routing.latency_us, quantum=self.config.replay.quantum,
            append=self.journal.append,
            done=lambda position: self.journal.say_token(Done(position)), halt_asked=self._halt_asked,
        )  # fmt: skip
        self.counters = self.core.book.counters
        self.counters["bad_messages"] = 0
        self.signals = self.bind(SIGNALS)
        self.loop.on_readable(self.signals, self._read_signals)
        self.journal.start()

    def take_record(self, envelope: Envelope, record: Record) -> None:
        self.core.take_record(envelope, record)

    def resume(self, envelope: Envelope, record: Checkpoint) -> None:
        self.core.resume(envelope, record, self.resume_tick)

    def take_state(self) -> bytes:
        return encode_ring(self.core.take_state())

    def on_caught_up(self) -> None:
        self.core.book.begin()
        self.market.start(max(0, self.resume_tick - 1))  # the time of the last tick is still asked for
        self.ready(self.journal.lsn)

    def detach(self, part: str) -> int:
        """At an ordered stop risk keeps the pen: those behind it in the stop order would hear of no answer any more."""
        self.core.keeps_pen = True
        return super().detach(part)

    def on_token(self, token: Grant | Done) -> None:
        if isinstance(token, Grant):
            self.core.grant(token.venue, token.horizon)
            self.keep_page(self.core.position)

    def on_ticks(self, first_tick: int, payload: MarketPayload) -> None:
        self.core.take_ticks(first_tick, payload)

    def on_end(self) -> None:
        self.core.take_end()

    def go_on(self) -> None:
        self.core.go_on()
        self.keep_page(self.core.position)

    def is_over(self) -> bool:
        end = self.core.ticks.end
        return end is not None and self.core.position >= tick_position(end)

    def _read_signals(self) -> None:
        for frames in receive_all(self.signals):
            name, _ = speaker_of(frames[0])
            strategy_id = self.strategy_ids.get(name)
            for frame in frames[1:]:
                self._take_signal(strategy_id, frame)
        # Now, not at the next GRANT: that one needs the ticks of the next quantum, for which this credit is (P12).
        self.keep_page(self.core.position)

    def _take_signal(self, strategy_id: int | None, frame: bytes) -> None:
        try:
            message = decode_message(frame)
        except WireError:
            message = None
        if isinstance(message, Intent) and message.strategy_id == strategy_id:
            self.core.take_signal(message)
        elif isinstance(message, Reached) and strategy_id is not None:
            self.core.reached(strategy_id, message.position)
        else:
            self.counters["bad_messages"] += 1

    def _halt_asked(self) -> TradingState | None:
        if not self.latch.is_halted():
            return None
        return TradingState(TradingMode.HALTED, self.latch.who(), self.latch.reason(), self.latch.halt_token)
