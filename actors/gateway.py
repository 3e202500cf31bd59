"""gateway: what outsiders see and say. Binary broadcast, JSON telemetry, commands, and HALT.

Owns the outer sockets. Its answers come from its own fold of the journal: it asks nobody, so it answers while
risk is down, and within 50 ms. It decides nothing; HALT it carries out itself, by the latch (design section 8).

Talks to: dashboards and operators; wal (tail, and TRADING_STATE), market_data (ticks, bars, marks), the supervisor
(what it says of the children).

No client can make another wait: commands come in over a ROUTER, which speaks REP's protocol to every REQ client
and has no turn to lose; what a client does not read is dropped.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

import msgspec
import zmq

from actors.answers import Answers
from actors.base import Place
from actors.broadcaster import HANDSHAKE_MS, SUBSCRIPTION_BYTES_MAX, SUBSCRIPTION_QUEUE_MAX, Broadcaster, why_not_bound
from actors.clock import monotonic_s, now_us
from actors.folding import FoldingActor
from actors.frames import receive_all
from actors.latch import as_kept
from actors.lossless import LosslessBroadcaster, Pace
from actors.market import MarketClient
from actors.marks import Quote, newest_quotes
from actors.operations_desk import Answer, OperationsDesk
from actors.outsiders import Outsiders
from actors.publisher import Publisher
from actors.security import RELOAD_S, ZAP_ENDPOINT, Security, receive_signed, refuse_old_protocols
from actors.steering import STEER_VERBS, full_name, objection
from protocol.codec import MarketPayload
from protocol.commands import (
    REQUEST_BYTES_MAX,
    SHOWN_MAX,
    VERBS,
    BadCommand,
    Command,
    HaltReply,
    Reply,
    TextReply,
    encode_reply,
    error_reply,
    parse_command,
)
from protocol.errors import ConfigError, GatewayError
from protocol.keys import Domain
from protocol.messages import Children, Message, QueueDepth, Steer, SteerVerb, Welcome
from protocol.orders import TradingMode
from protocol.queues import BROADCAST, COMMANDS
from protocol.records import EngineRun, Operation, Producer, Record, TradingState
from protocol.topics import TICK
from protocol.wal.format import Envelope

COMMANDS_PER_TURN: Final = 20
"""Of one socket, so that a flood on one does not hold up the other."""
HALT_WAIT_S: Final = 0.05
"""HALT's reply waits at most this long for a send under way and for the disk (design section 8)."""
RECORDS_BETWEEN_LOOKS: Final = 128
"""A few milliseconds of folding."""
HEARTBEAT_S: Final = 1.0
REPLY_QUEUE_MAX: Final = 100
"""Replies that one client may leave unread; more are dropped."""
LATCH_LOOK_S: Final = 0.05


class Gateway(FoldingActor):
    def __init__(self, place: Place) -> None:
        super().__init__(place, producer=Producer.GATEWAY)
        self.market = MarketClient(self, self, on_welcome=self._on_market_welcome)
        self.marks: dict[int, Quote] = {}
        self.market_time_us = 0
        self.children = Children(())
        self.halt_appended = self.halt_confirmed = 0
        self.is_ready = False
        self.commands: list[zmq.Socket[bytes]] = []
        self.control_socket: zmq.Socket[bytes] | None = None
        self.operations = OperationsDesk(self.loop, self.journal, self.fold, is_replay=self.config.is_replay)
        self.broadcaster: Broadcaster | None = None
        self.pace: Pace | None = None
        self.security: Security | None = None
        """None: the outer sockets are plain."""
        self.outsiders: Outsiders | None = None
        self.counters = {"commands": 0, "bad_commands": 0, "dropped_replies": 0}
        self.verbs: dict[str, Callable[[str], Reply]] = {"HALT": self._halt}
        self.verbs |= {name: partial(self._steer, verb) for name, verb in STEER_VERBS.items()}

    # The life of the actor.

    def load(self) -> None:
        """Binds everything before anything starts, so that a port in use ends the start."""
        settings = self.config.gateway
        # Each client is a descriptor; the usual soft limit of 1,024 is soon reached, the hard one is not.
        if self.is_process:
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self._start_security()
        if settings.command:
            self._bind_commands("gateway.command", settings.command, Domain.COMMAND)
        if self.spec.control_endpoint:  # private by its directory
            self.control_socket = self._bind_commands("the control socket", self.spec.control_endpoint, None)
        if settings.broadcast:
            self._start_broadcast(settings.broadcast, is_lossless=settings.broadcast_lossless)
        telemetry = None
        if settings.telemetry:
            telemetry = self.socket(zmq.XPUB, 10_000)
            telemetry.setsockopt(zmq.RCVHWM, SUBSCRIPTION_QUEUE_MAX)
            self._bind(telemetry, "gateway.telemetry", settings.telemetry, SUBSCRIPTION_BYTES_MAX, Domain.FEEDS)
        boot_id, incarnation = self.spec.boot_id.hex(), self.spec.incarnation
        self.publisher = Publisher(self.fold, self.broadcaster, telemetry, boot_id, incarnation)
        self.answers = Answers(self)
        self.verbs |= self.answers.verbs
        self._watch_outsiders(telemetry)

    def _watch_outsiders(self, telemetry: zmq.Socket[bytes] | None) -> None:
        limits = self.config.supervisor.limits_of(self.name)
        self.outsiders = watched = Outsiders(self.loop, self.counters, self.log, limits, is_process=self.is_process)
        for made in self.commands:
            if made is not self.control_socket:
                watched.watch("command", made)
        if telemetry is not None:
            watched.watch("telemetry", telemetry, self.publisher.subscribed_bytes)
        if self.broadcaster is not None:
            watched.watch("broadcast", self.broadcaster.socket, self.broadcaster.subscribed_bytes)
        self.loop.after(0, watched.begin)

    def _start_security(self) -> None:
        """Handshakes are answered from before the first bind on: libzmq refuses them while nobody does."""
        if self.config.gateway.curve is None:
            return
        self.security = Security(self.config.gateway.curve, self.log, self.counters, is_restart=self.spec.is_restart)
        handler = self.socket(zmq.ROUTER, 1)  # a connection asks once
        self.security.start(handler)
        self._bound.append((handler, ZAP_ENDPOINT))
        self.loop.on_readable(handler, self.security.answer_handshakes)
        self.loop.every(RELOAD_S, self.security.reload)

    def _protect(self, made: zmq.Socket[bytes], domain: Domain) -> None:
        if self.security is not None:
            self.security.protect(made, domain)
        else:
            refuse_old_protocols(made, domain)

    def _start_broadcast(self, endpoint: str, *, is_lossless: bool) -> None:
        kind = LosslessBroadcaster if is_lossless else Broadcaster
        protect = partial(self._protect, domain=Domain.FEEDS)
        self.broadcaster = kind(endpoint, context=self.context, drains_itself=False, protect=protect)
        try:
            self.broadcaster.start()
        except GatewayError as error:
            raise ConfigError([f"gateway.broadcast = {endpoint!r}: {error}"]) from error
        if isinstance(self.broadcaster, LosslessBroadcaster):
            self.pace = Pace(self.broadcaster, self.market, self.loop, self.page, self.log, self.counters)
            self.market.on_chunk = self.pace.hold_chunk

    def _bind_commands(self, key: str, endpoint: str, domain: Domain | None) -> zmq.Socket[bytes]:
        made = self.socket(zmq.ROUTER, REPLY_QUEUE_MAX)
        made.setsockopt(zmq.ROUTER_MANDATORY, 1)  # else what is dropped is not even counted
        # Else a second client of the same identity is never read, and libzmq 4.3.5 keeps what it had sent for ever:
        # 15 MB for 1,000 of them. Of one that was followed it keeps the descriptor, until outsiders are cut off.
        made.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self._bind(made, key, endpoint, 4 * REQUEST_BYTES_MAX, domain)
        self.commands.append(made)
        return made

    def _bind(
        self, made: zmq.Socket[bytes], key: str, endpoint: str, bytes_max: int, domain: Domain | None
    ) -> None:
        """What comes in from outside is a request or a subscription, and small. domain: None for what is private."""
        made.setsockopt(zmq.MAXMSGSIZE, bytes_max)
        if domain is not None:
            self._protect(made, domain)
        made.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        try:
            made.bind(endpoint)
        except zmq.ZMQError as error:
            raise ConfigError([f"{key} = {endpoint!r}: cannot be bound: {why_not_bound(error)}"]) from error

    def begin(self, run: EngineRun | None) -> None:
        self.journal.start()
        if self.pace is None:
            self.market.start(self.resume_tick)
        else:
            self.pace.start(self.market.start)  # from the first tick: what was not sent is known to nobody
        for made in self.commands:
            self.loop.on_readable(made, lambda made=made: self._serve(made))
        for made, handler in self.publisher.subscriptions():
            self.loop.on_readable(made, partial(self._take_subscriptions, handler))
        self.loop.every(self.config.gateway.account_interval_ms / 1000, self._publish_account)
        self.loop.every(HEARTBEAT_S, self._heartbeat)
        self.loop.every(LATCH_LOOK_S, self._append_halt)
        self.loop.after_turn(self._after_turn)

    def on_caught_up(self) -> None:
        self.is_ready = True
        self.ready(self.journal.lsn)

    def release(self) -> None:
        if self.outsiders is not None:
            self.outsiders.release()
        if self.broadcaster is not None:
            half_ms = round(500 * self.config.supervisor.stop_timeout_s)
            self.broadcaster.stop(half_ms if self.pace is not None and self.pace.is_over else 0)

    def control(self, message: Message) -> None:
        if isinstance(message, Children):
            before = {child.name: child for child in self.children.children}
            self.children = message
            for child in message.children:
                self.publisher.publish_child(before.get(child.name), child)

    def queues(self) -> tuple[QueueDepth, ...]:
        found = (*super().queues(), QueueDepth(COMMANDS.name, "wal", self.operations.waiting_count, COMMANDS.limit))
        if self.pace is None:
            return found
        return (*found, QueueDepth(BROADCAST.name, "", self.pace.outstanding, BROADCAST.limit))

    def outstanding(self) -> int:
        return super().outstanding() + (self.pace.outstanding if self.pace is not None else 0)

    def _take_subscriptions(self, take: Callable[[], None]) -> None:
        take()
        if self.outsiders is not None:
            self.outsiders.look_at_subscriptions()

    # The journal and the market.

    def on_record(self, envelope: Envelope, record: Record) -> None:
        changes = self.fold.apply(envelope, record)
        if type(record) is Operation:
            self.operations.came_back(envelope)
        if self.is_ready:
            for change in changes:
                self.publisher.publish_change(change)
            if envelope.lsn % RECORDS_BETWEEN_LOOKS == 0:
                self._look_at_commands()

    def _look_at_commands(self) -> None:
        """In a flood one turn folds thousands of records; HALT does not wait for its end, nor who comes to say it."""
        if self.security is not None:
            self.security.answer_handshakes()
        for source in self.commands:
            self._serve(source)

    def _on_market_welcome(self, welcome: Welcome) -> None:
        """The last quotes that a former life may have seen."""
        for _, symbol_id, time_us, bid, ask in TICK.iter_unpack(welcome.snapshot):
            self.marks.setdefault(symbol_id, Quote(bid, ask, time_us))

    def on_ticks(self, first_tick: int, payload: MarketPayload) -> None:
        records = payload.records
        self.market_time_us = TICK.unpack_from(records, len(records) - TICK.size)[2]
        self.marks.update(newest_quotes(records, len(self.fold.symbols)))
        self.publisher.publish_ticks(records)

    def on_bars(self, next_tick: int, payload: MarketPayload) -> None:
        self.publisher.publish_bars(payload.records)

    def clock_us(self) -> int:
        """The market's clock; the wall clock before the first tick."""
        return self.market_time_us or now_us()

    def _after_turn(self) -> None:
        if self.publisher.account_changed:
            self._publish_account()

    def _publish_account(self) -> None:
        if self.is_ready and self.fold.run is not None and (self.pace is None or not self.pace.is_full):
            self.publisher.publish_account(self.answers.valuation(), self.fold.run.currency, self.clock_us())

    def _heartbeat(self) -> None:
        self.publisher.publish_heartbeat(now_us())

    # Commands.

    def _serve(self, source: zmq.Socket[bytes]) -> None:
        """On the control socket, and under CURVE on the other too, stands an operator: every verb is there."""
        security = None if source is self.control_socket else self.security
        is_operator = source is self.control_socket or security is not None
        for key, frames in self._receive(source, security):
            # REQ sends [identity, empty, request]; with REQ_CORRELATE, or through a proxy, more stands before the empty
            # frame and goes back as it came. Without one there is nobody that could be answered.
            end = next((index for index, frame in enumerate(frames) if index and not frame), 0)
            if not end:
                self.counters["bad_commands"] += 1
                continue
            answer = partial(self._answer, source, frames[: end + 1])
            if security is not None and (refusal := security.refusal_of_command(key)):
                answer(error_reply(refusal))
            else:
                self._take(frames[end + 1 :], answer, is_operator=is_operator)

    def _receive(self, source: zmq.Socket[bytes], security: Security | None) -> Iterable[tuple[str, list[bytes]]]:
        """Requests, with the key of who sent them; "" where none is asked for."""
        if security is not None:
            return receive_signed(source, COMMANDS_PER_TURN)
        return [("", frames) for frames in receive_all(source, COMMANDS_PER_TURN)]

    def _answer(self, source: zmq.Socket[bytes], address: list[bytes], reply: Reply) -> None:
        try:
            source.send_multipart([*address, encode_reply(reply)], zmq.NOBLOCK)
        except zmq.ZMQError:
            self.counters["dropped_replies"] += 1

    def _take(self, frames: list[bytes], answer: Answer, *, is_operator: bool) -> None:
        self.counters["commands"] += 1
        try:
            command = parse_command(frames)
            if isinstance(command, BadCommand):
                self.counters["bad_commands"] += 1
                answer(error_reply(command.response))
            else:
                self._carry_out(command, answer, is_operator)
        except Exception as error:  # a client gets an answer whatever happens; HALT has set the latch by then
            self.log.exception("command_failed", request=b"".join(frames)[:SHOWN_MAX].decode("utf-8", "replace"))
            answer(error_reply(f"The request failed: {error}"))

    def _carry_out(self, command: Command, answer: Answer, is_operator: bool) -> None:
        verb = VERBS[command.verb]
        if not self.is_ready and command.verb not in ("PING", "HALT"):
            answer(error_reply("The gateway is starting"))
        elif not (verb.anywhere or is_operator):
            where = "RUN_DIR/ipc/control, which the seawall command uses"
            answer(error_reply(f"{command.verb}: on the control socket only: {where}"))
        elif verb.is_operation:
            self.operations.take(command, answer, is_operator=is_operator)
        else:
            answer(self.verbs[command.verb](command.argument))

    def _steer(self, verb: SteerVerb, name: str) -> Reply:
        children = self.children.children
        name = full_name(name, children)
        if why_not := objection(verb, name, children, self.config, is_process=self.is_process):
            return error_reply(f"{verb.name}: {why_not}")
        self.loop.after(0, lambda: self.tell(Steer(verb, name)))  # behind the reply: it may be this one that dies
        return TextReply(response=f"{verb.name} {name}: asked for; HEALTH shows it")

    def _halt(self, reason: str) -> Reply:
        """H4, H5: the latch, then wait for a send under way and for the disk, then the reply, then the record."""
        deadline = monotonic_s() + HALT_WAIT_S
        was_halted = self.latch.is_halted()
        token = self.latch.halt("operator", reason or "HALT")
        kept = self.latch.reason()
        is_news = was_halted and reason and as_kept(reason) != kept
        already = f"by {self.latch.who()}: {kept}" if is_news else msgspec.UNSET
        if token == self.halt_confirmed:  # quiet and on disk since then: a flood waits for nothing
            return HaltReply(response="Trading halted", already=already)
        ticket = self.latch.start_sync()
        is_quiet = self.latch.wait_until_quiet(HALT_WAIT_S)
        is_synced = ticket.wait(max(0.0, deadline - monotonic_s()))
        self.loop.after(0, self._append_halt)
        if is_quiet and is_synced:
            self.halt_confirmed = token
        return HaltReply(
            response="Trading halted",
            in_flight=msgspec.UNSET if is_quiet else 1,
            unsynced=msgspec.UNSET if is_synced else 1,
            already=already,
        )

    def _append_halt(self) -> None:
        """H7: gateway and risk may both append it; in a replay risk does, at a quantum's end (P13)."""
        if self.config.is_replay:
            return
        token = self.latch.halt_token
        if not self.is_ready or token in (0, self.fold.cleared_token, self.halt_appended, self.fold.trading.token):
            return
        self.halt_appended = token
        self.journal.append(TradingState(TradingMode.HALTED, self.latch.who(), self.latch.reason(), token))


