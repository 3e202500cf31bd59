"""The ring as a model: its parts, joined by queues that a random scheduler empties one message at a time.

Nothing here knows sockets or processes, and nothing knows what the parts do: appends travel to the sequencer, records
and tokens travel on to everybody, ticks come in chunks of any length. Whatever the schedule, the journal must be the
same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np

from actors.fold import Fold
from actors.ring.bystander import BystanderCore
from actors.ring.risk import RiskCore
from actors.ring.router import RouterCore
from actors.ring.strategy import Part, StrategyCore
from actors.risk_book import RiskBook
from actors.strategies import Environment, Strategy
from actors.venues.paper import PaperVenue
from actors.venues.policies import Policies, policies_of
from protocol.codec import VOLUME, MarketKind, MarketPayload, decode_market, encode_market
from protocol.conversion import quote_currency
from protocol.messages import Intent
from protocol.positions import is_checkpoint, ticks_done
from protocol.records import (
    FIRST_STRATEGY,
    Checkpoint,
    EngineRun,
    Producer,
    Record,
    RunEvent,
    encode_record,
    entry_type_of,
)
from protocol.ring_state import RISK_RING, ROUTER, RouterRing, StrategyRing, decode_ring, encode_ring
from protocol.settings import Config
from protocol.topics import TICK, TICK_DTYPE
from protocol.units import MICROS, decimal_to_micros, product_to_bytes
from protocol.wal.format import Envelope

Tick = tuple[int, int, int, int]
"""(symbol_id, time_us, bid, ask)."""


@dataclass(frozen=True, slots=True)
class Case:
    """What the bytes of a replay are a function of."""

    config: Config
    ticks: Sequence[Tick]
    strategies: Sequence[Callable[[], Strategy]]
    quantum: int
    latency_us: int
    bars: dict[int, list[tuple[int, ...]]] = field(default_factory=dict)
    """By the tick that closed them, those at the end by the one after the last: BAR fields."""
    slice_ticks: int = 5
    bystanders: Sequence[Callable[[], Strategy]] = ()
    """Numbered on behind the strategies."""
    volumes: Sequence[int] = ()
    """Micros, one a tick, if the feed has them."""

    @property
    def symbols(self) -> list[str]:
        return [instrument.symbol for instrument in self.config.instruments]

    def run_record(self) -> EngineRun:
        return EngineRun(
            b"j" * 16, RunEvent.START, "operator", "model", b"c" * 16, b"b" * 16, 0,
            product_to_bytes(decimal_to_micros(self.config.account.balance) * MICROS), "USD", 100,
            tuple((instrument.symbol, instrument.multiplier_micros) for instrument in self.config.instruments),
            tuple(f"s{number}" for number in range(len(self.strategies) + len(self.bystanders))),
            tuple(quote_currency(self.config, instrument) for instrument in self.config.instruments),
        )  # fmt: skip

    def policies(self) -> Policies:
        return policies_of(self.config, dict(enumerate(self.symbols)))

    def part(self, number: int) -> Part:
        own = dict(enumerate(self.symbols))
        if number % 3 == 1:
            own = {0: own[0]}
        return Part(
            strategy_id=FIRST_STRATEGY + number, own=own, symbols=self.symbols, slice_ticks=self.slice_ticks,
            quantum=self.quantum, latency_us=self.latency_us,
        )  # fmt: skip

    def book(self, append: Callable[[Record], Any], is_halted: Callable[[], bool]) -> RiskBook:
        return RiskBook(self.config, Fold(), append, is_halted)


def attach(strategy: Strategy, part: Part, desk: Any) -> Strategy:
    name = f"s{part.strategy_id - FIRST_STRATEGY}"
    ids = {symbol: symbol_id for symbol_id, symbol in part.own.items()}
    strategy.attach(Environment(desk, name, tuple(ids), ids, {}, f"1:{name}", None))
    return strategy


def call(hook: Callable[..., Any], *arguments: Any) -> Any:
    return hook(*arguments)


Line = tuple[int, int, int, Record]
"""A line of the journal: (LSN, time_us, producer, record)."""


class Ring:
    """One replay of the case under one schedule."""

    def __init__(
        self, case: Case, seed: int, *, checkpoint_ticks: int = 0, messages_max: int = -1, is_slow: bool = False
    ) -> None:
        """messages_max: the crash comes after so many; never if below 0. is_slow: bystanders move if none else can."""
        self.case = case
        self._random = Random(seed)
        self._checkpoint_ticks = checkpoint_ticks
        self._messages_left = messages_max
        self._is_slow = is_slow
        self.has_crashed = False
        self.journal: list[Line] = []
        self.saved: tuple[list[Line], int] | None = None
        """The journal up to its last CHECKPOINT, and the tick of that."""
        self._queues: dict[tuple[str, str], deque[Any]] = {}
        strategies = range(len(case.strategies))
        self.cores = [self._strategy(number) for number in strategies]
        beside = range(len(self.cores), len(self.cores) + len(case.bystanders))
        self.bystanders = [self._strategy(number) for number in beside]
        ids = [FIRST_STRATEGY + number for number in strategies]
        self.risk = RiskCore(
            case.book, ids, latency_us=case.latency_us, quantum=case.quantum,
            append=lambda record, time_us: self._put("risk", "wal", (Producer.RISK, time_us, record)),
            done=lambda position: self._put("risk", "wal", ("done", position)),
        )  # fmt: skip
        self.venue = PaperVenue(case.policies())
        self._router_fold = Fold()
        self._checkpoint_tick = 0
        """Of the last checkpoint: a quantum's end may be granted again."""
        self.router = RouterCore(
            self.venue, self._router_fold, quantum=case.quantum, latency_us=case.latency_us,
            send=self.venue.place, cancel=self.venue.cancel, replace=self.venue.replace,
            append=lambda record, time_us: self._put("router", "wal", (Producer.ORDER_ROUTING, time_us, record)),
            grant=lambda venue, horizon: self._put("router", "wal", ("grant", venue, horizon)),
        )  # fmt: skip
        self._ring = ["risk", "router", *(f"s{number}" for number in strategies)]
        self._beside = [f"s{number}" for number in beside]
        self._hearers = [*self._ring, *self._beside]

    def _strategy(self, number: int) -> StrategyCore:
        makers = [*self.case.strategies, *self.case.bystanders]
        part, strategy = self.case.part(number), makers[number]()
        core = (StrategyCore if number < len(self.case.strategies) else BystanderCore)(
            strategy, part,
            send=lambda intent: self._put(f"s{number}", "signals", intent),
            reached=lambda position: self._put(f"s{number}", "signals", (part.strategy_id, position)),
            call=call, failed=lambda hook, arguments: None,
        )  # fmt: skip
        attach(strategy, part, core.desk)
        return core

    def _put(self, source: str, target: str, message: Any) -> None:
        self._queues.setdefault((source, target), deque()).append(message)

    # The run.

    def run(self) -> list[Line]:
        """The journal; raises if the ring stands still before its end."""
        self._write(0, Producer.SUPERVISOR, self.case.run_record())
        for hearer in self._beside:  # whose fold is complete before its market begins; the others wait for a token
            self._tail(hearer, self._queues["wal", hearer].popleft())
        for hearer in self._hearers:
            self._feed(hearer, 0)
        return self._go_on()

    def resume(self, journal: list[Line], tick: int) -> list[Line]:
        """`run`, from a CHECKPOINT of another life on (P11)."""
        self.journal, self._checkpoint_tick = list(journal), tick
        lsn, time_us, producer, record = journal[-1]
        assert isinstance(record, Checkpoint)
        envelope = Envelope(entry_type_of(record), lsn, 0, 0, time_us, producer, lsn)
        run = self.case.run_record()
        for number, core in enumerate(self.cores):
            found = record.state_of(f"strategy.s{number}")
            assert found is not None
            core.resume(run, tick, decode_ring(found[1], StrategyRing))
            core.take_record(envelope, record)
        self.risk.resume(envelope, record, tick)
        self.risk.book.begin()
        self.router.take_record(envelope, record)
        found = record.state_of(ROUTER)
        assert found is not None
        fold = self._router_fold
        self.venue.put_state(fold.tracker.open_orders, fold.owned_positions(), decode_ring(found[1], RouterRing))
        self.router.resume(tick)
        for core in self.bystanders:
            core.take_record(envelope, record)
        for hearer in self._hearers:
            self._feed(hearer, 0 if hearer in self._beside else tick - 1 if hearer in ("risk", "router") else tick)
        return self._go_on()

    def _go_on(self) -> list[Line]:
        self.router.go_on()
        while queues := [key for key, queue in self._queues.items() if queue]:
            if self._is_slow:
                queues = [key for key in queues if key[1] not in self._beside] or queues
            key = self._random.choice(queues)
            if self._messages_left == 0:
                self.has_crashed = True
                return self.journal
            self._messages_left -= 1
            self._deliver(key, self._queues[key].popleft())
        if not self.router.is_over:
            raise AssertionError(f"stands still: venue {self.router.position}, risk {self.risk.position}, "
                                 f"strategies {[core.position for core in self.cores]}")  # fmt: skip
        return self.journal

    def _feed(self, hearer: str, start: int) -> None:
        """The market behind tick `start`, in chunks of any length; bars stand before the tick that closed them."""
        ticks = self.case.ticks
        while start < len(ticks):
            stop = min(len(ticks), start + self._random.randint(1, 9))
            closing = next((tick - 1 for tick in sorted(self.case.bars) if start < tick - 1 < stop), None)
            stop = stop if closing is None else closing
            if bars := self.case.bars.get(start + 1):
                self._put("market", hearer, ("bars", start + 1, bar_payload(bars)))
            payload = tick_payload(ticks[start:stop], self.case.volumes[start:stop])
            self._put("market", hearer, ("ticks", start + 1, payload))
            start = stop
        if bars := self.case.bars.get(len(ticks) + 1):
            self._put("market", hearer, ("bars", len(ticks) + 1, bar_payload(bars)))
        self._put("market", hearer, ("end", len(ticks) + 1))

    def _deliver(self, key: tuple[str, str], message: Any) -> None:
        source, target = key
        if target == "wal":
            self._sequence(message)
        elif target == "signals":
            if isinstance(message, Intent):
                self.risk.take_signal(message)
            else:
                self.risk.reached(*message)
        elif source == "market":
            self._market(target, message)
        else:
            self._tail(target, message)

    def _sequence(self, message: Any) -> None:
        if message[0] == "done":
            self._put("wal", "router", message)
        elif message[0] == "grant":
            tick = ticks_done(message[1])
            if tick > self._checkpoint_tick and is_checkpoint(message[1], self.case.quantum, self._checkpoint_ticks):
                self._checkpoint_tick = tick
                self._checkpoint(tick)
            for hearer in self._ring:
                if hearer != "router":
                    self._put("wal", hearer, message)
        else:
            producer, time_us, record = message
            self._write(time_us, producer, record)

    def _checkpoint(self, tick: int) -> None:
        """Everybody in the ring has heard all there is, and says where it stands."""
        for hearer in self._ring:
            queue = self._queues.get(("wal", hearer), deque())
            while queue:
                self._tail(hearer, queue.popleft())
        lsn = len(self.journal)
        risk = self.risk.take_state()
        states = [("risk", lsn, risk.fold), (RISK_RING, lsn, risk.ring)]
        states.append((ROUTER, lsn, encode_ring(self.venue.take_state())))
        states += [(f"strategy.s{number}", lsn, core.take_state()) for number, core in enumerate(self.cores)]
        run = encode_record(self.case.run_record())
        time_us = self.journal[-1][1]
        self._write(time_us, Producer.WAL, Checkpoint(b"j" * 16, run, 1, (), tuple(sorted(states))))
        self.saved = list(self.journal), tick

    def _write(self, time_us: int, producer: int, record: Record) -> None:
        lsn = len(self.journal) + 1
        self.journal.append((lsn, time_us, producer, record))
        envelope = Envelope(entry_type_of(record), lsn, 0, 0, time_us, producer, lsn)
        for hearer in self._hearers:
            self._put("wal", hearer, (envelope, record))

    def _market(self, hearer: str, message: Any) -> None:
        core: Any = self._core(hearer)
        kind, number, *payload = message
        if kind == "ticks":
            core.take_ticks(number, payload[0])
        elif kind == "bars":
            if isinstance(core, StrategyCore):
                core.take_bars(number, payload[0])
        elif isinstance(core, StrategyCore):
            core.take_end(number)
        else:
            core.take_end()
        core.go_on()

    def _tail(self, hearer: str, message: Any) -> None:
        core: Any = self._core(hearer)
        if message[0] == "done":
            core.done(message[1])
        elif message[0] == "grant":
            core.grant(*message[1:])
        else:
            core.take_record(*message)

    def _core(self, hearer: str) -> RiskCore | RouterCore | StrategyCore:
        if hearer in ("risk", "router"):
            return self.risk if hearer == "risk" else self.router
        return [*self.cores, *self.bystanders][int(hearer[1:])]


def tick_payload(ticks: Sequence[Tick], volumes: Sequence[int] = ()) -> MarketPayload:
    records = b"".join(TICK.pack(0, *tick) for tick in ticks)
    column = b"".join(map(VOLUME.pack, volumes))
    return next(decode_market(encode_market(MarketKind.TICKS, len(ticks), records, column)))


def bar_payload(bars: Sequence[tuple[int, ...]]) -> MarketPayload:
    from protocol.topics import BAR

    return next(decode_market(encode_market(MarketKind.BARS, len(bars), b"".join(BAR.pack(1, *bar) for bar in bars))))


def structured(ticks: Sequence[Tick]) -> Any:
    """As NumPy sees them."""
    return np.array([(0, *tick) for tick in ticks], dtype=np.dtype(TICK_DTYPE))
