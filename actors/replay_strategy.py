"""A strategy in a replay: the shell of the ring's strategy (ring/strategy.py) around the author's code.

Talks to: market_data (ticks, bars), risk (signals, REACHED), wal (tail, tokens).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from typing import Any, Final

import zmq

from actors.base import Place
from actors.frames import send_frames
from actors.page import Activity
from actors.replay import ReplayActor
from actors.ring.bystander import BystanderCore
from actors.ring.strategy import Part, StrategyCore
from actors.strategies import Environment, Strategy
from actors.strategies.loading import load_strategy_class, source_hash
from protocol.codec import MarketPayload
from protocol.errors import ExitCode, WireError
from protocol.messages import Done, Grant, Message, Reached, Statistics, encode_message
from protocol.pipeline import SIGNALS
from protocol.positions import tick_position
from protocol.records import FIRST_STRATEGY, Checkpoint, EngineRun, Record
from protocol.ring_state import StrategyRing, decode_ring, state_bytes_max
from protocol.wal.format import Envelope

SIGNALS_MAX: Final = 256
"""Frames of one message to risk."""


class ReplayStrategy(ReplayActor):
    def __init__(self, place: Place) -> None:
        super().__init__(place)
        name = self.name.partition(".")[2]
        self.index = next(i for i, s in enumerate(self.config.strategies) if s.name == name)
        self.settings = self.config.strategies[self.index]
        self.core: StrategyCore
        self._last_tick = 0
        self._end_tick: int | None = None
        self._unsent: deque[Message] = deque()
        """What the pipe had no room for: in a replay signals wait."""
        self.counters = {"signals": 0}

    def load(self) -> None:
        self.strategy: Strategy = load_strategy_class(self.index, self.settings)()

    def begin(self, run: EngineRun | None) -> None:
        assert run is not None, "wal has said the id tables"
        self._run = run
        names = [name for name, _ in run.symbols]
        ids = {symbol: names.index(symbol) for symbol in self.settings.symbols}
        part = Part(
            strategy_id=FIRST_STRATEGY + run.strategies.index(self.settings.name),
            own={symbol_id: symbol for symbol, symbol_id in ids.items()}, symbols=names,
            slice_ticks=self.settings.slice, quantum=self.config.replay.quantum,
            latency_us=self.config.order_routing.latency_us, source=source_hash(type(self.strategy)),
        )  # fmt: skip
        self.core = (StrategyCore if self.settings.trades else BystanderCore)(
            self.strategy, part, send=self._send, reached=self._reached, call=self._call, failed=self._log_failure
        )
        self.strategy.attach(
            Environment(
                runtime=self.core.desk,
                name=self.settings.name,
                symbols=tuple(self.settings.symbols),
                symbol_ids=ids,
                params=self.settings.params,
                seed=f"{self.config.market_data.seed}:{self.settings.name}",
                log=self.log.bind(strategy=self.settings.name),
            )
        )
        self.signals = self.connect(SIGNALS)
        self.loop.after_turn(self._flush)
        self.journal.start()

    def take_record(self, envelope: Envelope, record: Record) -> None:
        self.core.take_record(envelope, record)

    def resume(self, envelope: Envelope, record: Checkpoint) -> None:
        if not self.settings.trades:  # it begins again: nothing depends on it
            self.core.take_record(envelope, record)
            return
        found = record.state_of(self.name)
        if found is None:
            raise WireError(f"a CHECKPOINT without the state of {self.name}")
        self._last_tick = self.resume_tick
        self.core.resume(self._run, self.resume_tick, decode_ring(found[1], StrategyRing))
        self.core.take_record(envelope, record)

    def take_state(self) -> bytes:
        state, limit = self.core.take_state(), state_bytes_max(self.config)
        if len(state) > limit:  # here too: beyond the limit of a message nobody would hear of it
            hint = "a resumed run begins at the first tick: save() must give less, or replay.checkpoint_ticks be lower"
            self.log.warning("state_too_large", bytes=len(state), bytes_max=limit, hint=hint)
            return b""
        return state

    def on_caught_up(self) -> None:
        self.market.start(self.resume_tick if self.settings.trades else 0)
        self.ready(self.journal.lsn)

    def on_token(self, token: Grant | Done) -> None:
        if isinstance(token, Grant):
            self.core.grant(token.venue, token.horizon)
            self.keep_page(self.core.position)

    def on_ticks(self, first_tick: int, payload: MarketPayload) -> None:
        self.core.epoch = self.market.epoch
        self.core.take_ticks(first_tick, payload)
        self._last_tick = first_tick + payload.items - 1

    def on_bars(self, next_tick: int, payload: MarketPayload) -> None:
        self.core.take_bars(next_tick, payload)

    def on_end(self) -> None:
        self._end_tick = self._last_tick + 1
        self.core.take_end(self._end_tick)

    def go_on(self) -> None:
        self.core.go_on()
        self.keep_page(self.core.position)

    def is_over(self) -> bool:
        return self._end_tick is not None and self.core.position >= tick_position(self._end_tick)

    def fail(self, exit_code: ExitCode, message: str, *, is_lasting: bool = False) -> None:
        """Where it happened is part of it: the same again at the same place will not get better (P13)."""
        place = f" (at market position {self.core.position})" if hasattr(self, "core") else ""  # before load is through
        super().fail(exit_code, message + place, is_lasting=is_lasting)

    def statistics(self) -> Statistics:
        said = super().statistics()
        return Statistics(
            said.lsn, self.core.position, said.at_end, said.outstanding, {**self.counters, "ticks": self.core.ticks}
        )

    def _reached(self, position: int) -> None:
        self._unsent.append(Reached(position))
        self._flush()

    def _send(self, intent: Message) -> None:
        """It goes with the REACHED behind it: risk does nothing with it before."""
        self.counters["signals"] += 1
        self._unsent.append(intent)

    def _flush(self) -> None:
        """Many in a message."""
        with suppress(zmq.Again):
            while self._unsent:
                some = list(islice(self._unsent, SIGNALS_MAX))
                send_frames(self.signals, [encode_message(message) for message in some])
                for _ in some:
                    self._unsent.popleft()

    def _call(self, hook: Callable[..., Any], *arguments: Any) -> Any:
        self.page.set_activity(Activity.HOOK)
        try:
            result = hook(*arguments)
        except Exception:
            self._log_failure(getattr(hook, "__name__", repr(hook)), arguments)
            raise
        self.page.set_activity(Activity.WORKING)
        return result

    def _log_failure(self, hook: str, arguments: tuple[Any, ...]) -> None:
        self.log.error("hook_failed", hook=hook, arguments=repr(arguments), position=self.core.position)
