"""What a strategy has asked for and not heard of: on its way to risk, said again, answered, lost; or refused here.

Owns the pipe to risk and every signal from its call to its answer, over the lives of risk and of the strategy: what is
unanswered, and what on_order has not been told yet, is part of the state that a checkpoint keeps. It decides nothing:
whether a signal may leave is the actor's to say, and answers come from the journal's tail.

Orders are perishable: one that risk has not decided when it dies is lost. Cancels, closes and protective changes are
said again until they are answered (design section 2), under their number, by which risk knows what it has decided.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

import msgspec
import zmq

from actors.clock import now_us
from actors.desk import Sent, asked_state, refusal, refusal_here, sent_of, signal_of
from actors.folding import FoldingActor
from actors.frames import receive_all
from actors.strategies import OrderInfo, Signal
from actors.strategy_feed import StrategyFeed
from protocol.errors import WireError
from protocol.messages import (
    OTHER_INCARNATION,
    Message,
    SignalHello,
    SignalWelcome,
    decode_message,
    encode_message,
)
from protocol.pipeline import SIGNALS
from protocol.queues import SIGNALS_ASKED
from protocol.state import AskedState, SignalState, UntoldState

HELLO_REPEAT_S: Final = 0.1
REPEAT_S: Final = 1.0
"""A cancel or close that is not answered is said again after this long (design section 2)."""
UNANSWERED_MAX: Final = SIGNALS_ASKED.limit
"""Signals that may wait for their answers. Whatever is said again was then answered, if it was, among the newest so
many: risk still knows it."""


class Asked:
    """tell(order): on_order. on_greeted(): risk's present life knows this one."""

    def __init__(
        self, actor: FoldingActor, feed: StrategyFeed, *,
        tell: Callable[[OrderInfo], None], on_greeted: Callable[[], None],
    ) -> None:  # fmt: skip
        self._actor = actor
        self._feed = feed
        self._journal = actor.journal
        self._tell = tell
        self._on_greeted = on_greeted
        self._risk_lsn = 0
        """What risk had decided when it said WELCOME is on the tail up to here."""
        self._untold: deque[OrderInfo] = deque()
        """What on_order must still be told of signals that never left."""
        self.unanswered: dict[int, Sent] = {}
        self.risk_incarnation = 0
        """Of the life that has said WELCOME; 0 until one has."""
        self._is_greeted = False
        """That life is, for all that is known, risk's present one."""

    def start(self) -> None:
        self._signals = self._actor.connect(SIGNALS)
        loop = self._actor.loop
        loop.on_readable(self._signals, self._read_answers)
        loop.every(HELLO_REPEAT_S, self._greet_risk)
        loop.every(REPEAT_S, self._repeat)
        self._greet_risk()

    @property
    def is_full(self) -> bool:
        return len(self.unanswered) >= UNANSWERED_MAX

    # risk.

    def _greet_risk(self) -> None:
        if not self._is_greeted:
            self.say_hello()

    def say_hello(self) -> None:
        self._send(SignalHello(self._actor.name, self._actor.spec.incarnation))

    def _send(self, message: Message) -> bool:
        with suppress(zmq.Again):
            self._signals.send(encode_message(message), zmq.NOBLOCK)
            return True
        return False

    def _read_answers(self) -> None:
        for frames in receive_all(self._signals):
            try:
                message = decode_message(frames[-1])
            except WireError:
                continue
            if isinstance(message, SignalWelcome) and message.incarnation > self.risk_incarnation:
                self.risk_incarnation, self._risk_lsn = message.incarnation, message.lsn
                self._is_greeted = True
                for sent in self.unanswered.values():
                    sent.lost_after_lsn = message.lsn
                self._on_greeted()

    def _repeat(self) -> None:
        """Cancels and closes are not perishable: said again until answered."""
        if not self.unanswered or not self.risk_incarnation:
            return
        self.say_hello()
        for sent in self.unanswered.values():
            if not sent.is_perishable and sent.lost_after_lsn is None:
                self._send_intent(sent)

    def _send_intent(self, sent: Sent) -> bool:
        sent.intent = msgspec.structs.replace(sent.intent, risk_incarnation=self.risk_incarnation, sent_us=now_us())
        return self._send(sent.intent)

    # A signal's life.

    def send(self, sent: Sent) -> None:
        """On its way to risk; while the fold is not complete it waits, for its answer may be there already."""
        number = sent.intent.number
        self.unanswered[number] = sent
        self._feed.pause = True
        if not self._journal.caught_up:
            sent.lost_after_lsn = 0
        elif not self._send_intent(sent):
            self._actor.loop.after(0, lambda: self.refused(number, "signals_full", "risk does not keep up"))

    def refuse_here(self, signal: Signal, reason: str) -> None:
        """The signal never leaves; on_order says so after the present hook, before the next tick."""
        self._actor.counters["refused_here"] += 1
        self._untold.append(refusal_here(signal, reason))
        self._feed.pause = True
        self._actor.loop.after(0, self.tell_refused)

    def tell_refused(self) -> None:
        for _ in range(len(self._untold)):  # not what these hooks add: that has its own turn
            self._tell(self._untold.popleft())

    def accepted(self, number: int, order_id: int) -> Sent | None:
        """The journal says that the signal was accepted; it is not waited for any longer."""
        sent = self.unanswered.pop(number, None)
        if sent is not None:
            sent.signal.order_id = order_id
        return sent

    def refused(self, number: int, reason: str, detail: str) -> None:
        """on_order is told; a cancel of what never became an order has nothing left to do."""
        sent = self.unanswered.pop(number, None)
        if sent is None:
            return
        if reason == OTHER_INCARNATION and sent.intent.risk_incarnation == self.risk_incarnation:
            self._is_greeted = False  # whoever should have told of risk's next life, or a HELLO to it, came to nothing
            self.say_hello()
        if sent.cancel is not None:
            self.refuse_here(sent.cancel, f"signal {number} never became an order")
        self._tell(refusal(sent, reason, detail))

    def give_up_lost(self) -> None:
        """What an earlier life of risk, or of this strategy, took with it: orders are lost, the rest is said again."""
        lsn = self._journal.lsn
        if not self.unanswered or not self._journal.caught_up or not self.risk_incarnation:
            return
        for number, sent in list(self.unanswered.items()):
            if sent.lost_after_lsn is None or lsn < sent.lost_after_lsn:
                continue
            if sent.is_perishable:
                self._actor.counters["lost"] += 1
                self.refused(number, "lost", "its sender or its receiver died before it was decided")
            else:
                sent.lost_after_lsn = None
                self._send_intent(sent)

    # Over the strategy's lives.

    def take_state(self) -> tuple[tuple[AskedState, ...], tuple[UntoldState, ...]]:
        """(what is unanswered, what on_order has not been told)."""
        asked = [asked_state(sent) for sent in self.unanswered.values()]
        untold = [UntoldState(SignalState(o.signal, o.symbol, o.side, o.quantity), o.reason) for o in self._untold]
        return tuple(asked), tuple(untold)

    def restore(self, asked: Iterable[AskedState], untold: Iterable[UntoldState]) -> int:
        """A former life's: answered by the fold that follows, else lost or said again when that is complete.

        Returns the highest number among them, 0 if there is none. Raises: WireError.
        """
        numbers = [0]
        for row in asked:
            sent = sent_of(row)
            sent.lost_after_lsn = self._risk_lsn
            self.unanswered[sent.intent.number] = sent
            numbers += [sent.intent.number, sent.cancel.number if sent.cancel else 0]
        for row in untold:
            self.refuse_here(signal_of(row.signal), row.reason)
            numbers.append(row.signal.number)
        return max(numbers)
