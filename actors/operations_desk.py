"""The gateway's desk for COMMANDs: into the journal, and the reply when they are there.

Owns who waits for which. A reply goes out when the COMMAND is back on the tail, so on disk, or after 50 ms with
"pending": the client then says the same again, with its id=, and hears the LSN (H1). Nobody waits for risk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from actors.base import Loop
from actors.derived import digest_of
from actors.fold import Fold
from actors.journal import JournalClient
from protocol.commands import Command, OperationReply, Reply, error_reply
from protocol.orders import TradingMode
from protocol.queues import COMMANDS
from protocol.records import Operation, Producer
from protocol.wal.format import Envelope

REPLY_WAIT_S: Final = 0.05
WAITING_MAX: Final = COMMANDS.limit
"""COMMANDs that have not come back; one more is refused. Plain tcp has a fifth of them."""
UNDONE_MAX: Final = 1000
"""COMMANDs on disk that risk has not carried out; one more is refused."""
BY: Final = "operator"

Answer = Callable[[Reply], object]


@dataclass(slots=True)
class Waiting:
    command: Command
    answers: list[Answer] = field(default_factory=list)
    """Those who have not been answered."""


class OperationsDesk:
    """`journal` is the gateway's, `fold` what has come back on its tail."""

    def __init__(self, loop: Loop, journal: JournalClient, fold: Fold, *, is_replay: bool) -> None:
        self._loop = loop
        self._journal = journal
        self._fold = fold
        self._is_replay = is_replay
        self._waiting: dict[int, Waiting] = {}
        """By producer_seq."""

    @property
    def waiting_count(self) -> int:
        return len(self._waiting)

    def take(self, command: Command, answer: Answer, *, is_operator: bool) -> None:
        """`answer` is called once, now or within 50 ms. is_operator: on the control socket, or under CURVE."""
        known = self._fold.command_tokens.get(command.token)
        if known is not None:  # before anything else: what it was asked for may be over by now
            lsn, digest = known
            answer(_taken(lsn) if digest == digest_of(command.verb, command.argument) else _of_another(command))
        elif (seq := self._waiting_for(command)) is not None:
            said = self._waiting[seq].command
            if said != command and not said.verb == command.verb == "REDUCE":
                answer(_of_another(command))
            else:
                self._wait(seq, answer)
        elif objection := self._objection(command, WAITING_MAX if is_operator else WAITING_MAX // 5):
            answer(error_reply(f"{command.verb}: {objection}"))
        elif command.verb == "REDUCE" and self._fold.trading.mode is TradingMode.REDUCING and not self._resumes():
            answer(OperationReply(response="Trading is REDUCING already"))
        else:
            seq = self._journal.append(Operation(command.token, command.verb, command.argument, BY))
            self._waiting[seq] = Waiting(command)
            self._wait(seq, answer)

    def _objection(self, command: Command, waiting_max: int) -> str:
        if self._is_replay:
            return "a replay takes HALT alone; it would not be the same again"
        if command.verb == "FLATTEN" and command.argument and command.argument not in self._fold.symbol_ids:
            return f"{command.argument!r} is no symbol; known are {', '.join(self._fold.symbols)}"
        is_one = command.verb == "CANCEL" and command.argument != "ALL"
        if is_one and int(command.argument) not in self._fold.tracker.open_orders:
            return f"order {command.argument} is not open"
        if len(self._fold.commands) >= UNDONE_MAX:
            return f"{UNDONE_MAX} commands wait for risk"
        if command.verb in ("REDUCE", "RESUME") and self._fold.trading.mode is TradingMode.HALTED:
            return "trading is halted; an ordered stop and a new start end that"
        return "too many commands wait for the disk" if len(self._waiting) >= waiting_max else ""

    def _waiting_for(self, command: Command) -> int | None:
        """Under which number it is on its way already: one with its token, or any REDUCE."""
        is_reduce = command.verb == "REDUCE" and not self._resumes()
        for seq, waiting in self._waiting.items():
            said = waiting.command
            if (is_reduce and said.verb == "REDUCE") or (command.token and said.token == command.token):
                return seq
        return None

    def _resumes(self) -> bool:
        """A RESUME is on its way to the disk, or to risk."""
        waiting = (waiting.command.verb for waiting in self._waiting.values())
        return "RESUME" in waiting or any(command.verb == "RESUME" for command in self._fold.commands.values())

    def _wait(self, seq: int, answer: Answer) -> None:
        self._waiting[seq].answers.append(answer)
        self._loop.after(REPLY_WAIT_S, lambda: self._give_up(seq, answer))

    def _give_up(self, seq: int, answer: Answer) -> None:
        waiting = self._waiting.get(seq)
        if waiting is not None and answer in waiting.answers:
            waiting.answers.remove(answer)
            answer(OperationReply(response="Taken", pending=1))

    def came_back(self, envelope: Envelope) -> None:
        """A COMMAND is on the tail: the gateway's, or risk's word that one is done."""
        waiting = self._waiting.pop(envelope.producer_seq, None) if envelope.producer == Producer.GATEWAY else None
        for answer in waiting.answers if waiting is not None else ():
            answer(_taken(envelope.lsn))


def _of_another(command: Command) -> Reply:
    return error_reply(f"id={command.token} was said of another command")


def _taken(lsn: int) -> OperationReply:
    return OperationReply(response="Taken", lsn=lsn)
