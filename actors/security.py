"""Who may come in: CURVE on the gateway's outer sockets, and the list of keys that decides (ZAP).

Owns the engine's key pair and the list in memory; reads both from the key directory (protocol/key_files.py) and writes
neither. libzmq asks before it lets a client in: each handshake is a request on inproc://zeromq.zap.01, answered here in
the gateway's own loop. It must never raise, whatever it is asked.

Without a handler libzmq lets everybody in, so each socket has a domain and enforces it: then nobody comes in who was
not let in here. The private control socket and the pipes have no domain; libzmq does not ask about them.

libzmq never asks again about a client that is in. So each command is looked at by the key that it came with, and who
is taken from the list has said his last; what he is subscribed to lasts until his connection or the gateway ends.

Without keys everybody may come in, but not by a protocol of before 2013: see refuse_old_protocols.

Source: ZeroMQ RFC 27 (ZAP), zmq_curve(7), ZMQ_ZAP_ENFORCE_DOMAIN in zmq_setsockopt(3).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import zmq

from actors.clock import monotonic_s
from actors.frames import receive_all
from protocol.curve_settings import CurveSettings
from protocol.errors import ConfigError
from protocol.key_files import KeyDirectory, check_keys
from protocol.keys import (
    MAY_CONNECT,
    AllowList,
    Client,
    Domain,
    KeyPair,
    Role,
    decode_allow_list,
    encode_key,
    fingerprint,
)

ZAP_ENDPOINT: Final = "inproc://zeromq.zap.01"
RELOAD_S: Final = 1.0
"""The list is read so often, so whoever edits it need not tell anybody. Measured with 100 clients: 0.06 ms, and 2.5 ms
more where it has changed."""
HANDSHAKES_PER_TURN: Final = 100
"""So that a flood of connections does not hold up the loop."""
HANDSHAKE_BYTES: Final = 1024
"""MAXMSGSIZE counts for the handshake too: CURVE's INITIATE has 257 bytes and metadata, a routing id of up to 255."""
LOGGED_MAX: Final = 10
"""Refusals that are logged one by one within LOG_WINDOW_S; of more only the number is."""
LOG_WINDOW_S: Final = 60.0

_VERSION: Final = b"1.0"
_HEAD: Final = 2
"""Frames before the request: the ROUTER's routing id, and REQ's empty one."""
_FIELDS: Final = 7
"""version, request id, domain, address, identity, mechanism, key; of CURVE exactly so many."""
_KEY_BYTES: Final = 32
NOT_LISTED: Final = "is not on the list"


class Verdict(NamedTuple):
    reply: list[bytes]
    refusal: str
    """Why; "": let in."""
    key: str
    """In Z85; "": none was shown."""
    address: str


def judge(frames: Sequence[bytes], clients: AllowList | None) -> Verdict | None:
    """What a ZAP request is answered; None if nobody could be. Never raises.

    clients: None if it is not known who may come in. libzmq's clients come again after a 300, and never after a 400.
    """
    head, request = list(frames[:_HEAD]), frames[_HEAD:]
    if len(head) < _HEAD or len(request) < 2:
        return None
    key = address = ""
    if request[0] != _VERSION or len(request) != _FIELDS:
        refusal = "asks in no way that is known here"
    else:
        _, _, domain, peer, _, mechanism, credentials = request
        address = peer.decode("ascii", "replace")
        if mechanism != b"CURVE" or len(credentials) != _KEY_BYTES:
            refusal = "shows no key"
        else:
            key = encode_key(bytes(credentials))
            refusal = _objection(bytes(domain), key, clients)
    if not refusal:
        status, user = b"200", key.encode()
    else:
        status, user = b"300" if clients is None else b"400", b""
    return Verdict([*head, _VERSION, request[1], status, b"", user, b""], refusal, key, address)


def _objection(domain: bytes, key: str, clients: AllowList | None) -> str:
    if clients is None:
        return "may be on the list, which cannot be used"
    client = clients.get(key)
    if client is None:
        return NOT_LISTED
    known = next((one for one in Domain if one.encode() == domain), None)
    if known is None:
        return "asks for a socket that there is not"
    return "" if client.role in MAY_CONNECT[known] else _only_subscribes(client)


def _only_subscribes(client: Client) -> str:
    return f"is {client.name}'s, {client.role}, who may only subscribe"


class Security:
    """`log` and `counters`: the gateway's.

    is_restart: the engine runs. Then keys that cannot be read end nothing: nobody is let in until they can, the control
    socket serves on, and trading does. At a start they end it.
    """

    def __init__(self, settings: CurveSettings, log: Any, counters: dict[str, int], *, is_restart: bool) -> None:
        """Raises: ConfigError with every mistake in the key files."""
        self._directory = KeyDirectory(settings.keys)
        self._log, self._counters = log, counters
        self._handler: zmq.Socket[bytes] | None = None
        self._refusals = _RefusalLog(log)
        self.clients: AllowList | None = None
        self._text: str | None = None
        counters |= {"known_keys": 0, "refused_handshakes": 0, "refused_commands": 0}
        counters |= {"engine_key_unusable": 0, "key_list_unusable": 0}
        if not zmq.has("curve"):
            raise ConfigError(["gateway.curve: this libzmq was built without CURVE"])
        if not is_restart and (mistakes := check_keys(settings)):
            raise ConfigError(mistakes)
        self._pair = self._read_pair()
        self.reload()

    def _read_pair(self) -> KeyPair:
        try:
            return self._directory.read_pair()
        except ConfigError as error:
            self._counters["engine_key_unusable"] = 1
            self._log.error("engine_key_unusable", error=str(error), action="nobody is let in until a restart")
            return KeyPair.make()  # which no client knows

    # The list.

    def reload(self) -> None:
        """The list is what the file says now; one that is wrong or cannot be read changes nothing, and is said once."""
        self._refusals.look()
        try:
            text = self._directory.read_list_text()
            if text == self._text:
                self._counters["key_list_unusable"] = 0
                return
            before = self.clients or {}
            now = self._take(text)
        except ConfigError as error:
            if not self._counters["key_list_unusable"]:
                action = "nobody is let in" if self.clients is None else "the last good one holds"
                self._log.error("key_list_unusable", error=str(error), action=action)
            self._counters["key_list_unusable"] = 1
            return
        self._log.info("key_list_read", **_changes(before, now))

    def _take(self, text: str) -> AllowList:
        self.clients = clients = decode_allow_list(text, str(self._directory.list))
        self._text = text
        self._counters.update(known_keys=len(clients), key_list_unusable=0)
        return clients

    # The sockets.

    def start(self, handler: zmq.Socket[bytes]) -> None:
        """`handler`, a ROUTER, is where libzmq asks. Before any socket is bound."""
        handler.bind(ZAP_ENDPOINT)
        self._handler = handler

    def protect(self, made: zmq.Socket[bytes], domain: Domain) -> None:
        """Whoever connects to `made`, not bound yet, shows a key that may connect to `domain`."""
        if 0 < int(made.getsockopt(zmq.MAXMSGSIZE)) < HANDSHAKE_BYTES:
            made.setsockopt(zmq.MAXMSGSIZE, HANDSHAKE_BYTES)
        made.setsockopt(zmq.CURVE_SERVER, 1)
        made.setsockopt(zmq.CURVE_SECRETKEY, self._pair.secret.encode())
        made.setsockopt(zmq.ZAP_DOMAIN, domain.encode())
        made.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)

    def answer_handshakes(self) -> None:
        if self._handler is None:
            return
        for frames in receive_all(self._handler, HANDSHAKES_PER_TURN):
            verdict = judge(frames, self.clients)
            if verdict is None:
                continue
            if verdict.refusal:
                self._counters["refused_handshakes"] += 1
                self._refuse("client_refused", verdict.key, verdict.refusal, address=verdict.address)
            try:
                self._handler.send_multipart(verdict.reply, zmq.NOBLOCK)
            except zmq.ZMQError:
                continue  # it has left

    def refusal_of_command(self, key: str) -> str:
        """Why the one who shows `key` may command no more; "" if he may."""
        client = (self.clients or {}).get(key)
        if client is not None and client.role is Role.OPERATOR:
            return ""
        refusal = NOT_LISTED if client is None else _only_subscribes(client)
        self._counters["refused_commands"] += 1
        self._refuse("command_refused", key, refusal)
        return f"Refused: the key {_shown(key)} {refusal}"

    def _refuse(self, event: str, key: str, reason: str, **facts: str) -> None:
        self._refusals.say(event, fingerprint=_shown(key), reason=reason, **facts)


def refuse_old_protocols(made: zmq.Socket[bytes], domain: Domain) -> None:
    """Who connects to `made`, not bound yet, speaks ZMTP 3, as libzmq does from 4.0 on.

    Where a socket is unbound or closed in the middle of a handshake of ZMTP 1 or 2, libzmq 4.3.5 aborts the process
    (errno_assert in process_routing_id_msg, zmtp_engine.cpp, measured); that of ZMTP 3 looks out for it. A domain that
    nobody enforces, and about which no handler is asked, makes it refuse the old ones; CURVE does by itself.
    """
    made.setsockopt(zmq.ZAP_DOMAIN, domain.encode())


def _shown(key: str) -> str:
    return fingerprint(key) if key else ""


def receive_signed(source: zmq.Socket[bytes], limit: int) -> Iterator[tuple[str, list[bytes]]]:
    """What is queued on `source`, as the sender's key and frames, up to `limit` messages.

    The key is the User-Id of ZAP's reply: libzmq hands it on with each message. "" if there is none.
    """
    for _ in range(limit):
        try:
            frames = source.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return
        try:
            key = str(frames[-1].get("User-Id"))
        except zmq.ZMQError:
            key = ""
        yield key, [frame.bytes for frame in frames]


def _changes(before: AllowList, now: AllowList) -> dict[str, list[str]]:
    """By name and fingerprint, whose key or role is new, and whose is gone."""
    added = [client for key, client in now.items() if before.get(key) != client]
    removed = [client for key, client in before.items() if now.get(key) != client]
    return {
        word: [f"{client.name} ({client.role}, {fingerprint(client.key)})" for client in clients]
        for word, clients in (("added", added), ("removed", removed))
    }


class _RefusalLog:
    """At most LOGGED_MAX lines in LOG_WINDOW_S from the first on, and behind them how many there were besides."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._until_s = 0.0
        self._count = 0

    def say(self, event: str, **facts: str) -> None:
        self.look()
        if not self._count:
            self._until_s = monotonic_s() + LOG_WINDOW_S
        self._count += 1
        if self._count <= LOGGED_MAX:
            self._log.warning(event, **facts)

    def look(self) -> None:
        """Called now and then."""
        if self._count and monotonic_s() >= self._until_s:
            if self._count > LOGGED_MAX:
                self._log.warning("refusals_not_logged", count=self._count - LOGGED_MAX, within_s=LOG_WINDOW_S)
            self._count = 0
