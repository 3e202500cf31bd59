"""CURVE keys, and who may do what: how both are written. Pure; key_files.py reads and writes the files.

A key is 32 bytes, everywhere in the 40 characters of Z85. A key file has lines `WORD KEY`, the list of those who may
come in has lines `ROLE KEY NAME`; in both, empty lines and lines that begin with # say nothing (within a line # is a
character of Z85). Whoever is in neither role is refused: there is no default.

Source: ZeroMQ RFC 26 (CurveZMQ), RFC 27 (ZAP), RFC 32 (Z85).
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import zmq
from zmq.utils import z85

from protocol.errors import ConfigError

CLIENTS_MAX: Final = 1000
"""Lines of a list: far more dashboards and operators than one gateway serves."""
CLIENT_NAME_PATTERN: Final = r"[A-Za-z][A-Za-z0-9_-]{0,31}"
CLIENT_NAME_ALLOWED: Final = "a letter, then letters, digits, - and _, 32 at most"
_KEY_PATTERN: Final = r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}"
_FINGERPRINT_DIGITS: Final = 32
"""128 bits: nobody makes a second key with the same."""


class Role(StrEnum):
    OBSERVER = "observer"
    """May subscribe."""
    OPERATOR = "operator"
    """May subscribe, and use every verb."""


class Domain(StrEnum):
    """What a socket is for, as ZAP is told."""

    COMMAND = "command"
    FEEDS = "feeds"


MAY_CONNECT: Final[Mapping[Domain, frozenset[Role]]] = {
    Domain.COMMAND: frozenset({Role.OPERATOR}),
    Domain.FEEDS: frozenset({Role.OBSERVER, Role.OPERATOR}),
}


@dataclass(frozen=True, slots=True)
class KeyPair:
    public: str
    secret: str = field(repr=False)

    @classmethod
    def make(cls) -> KeyPair:
        public, secret = zmq.curve_keypair()
        return cls(public.decode(), secret.decode())

    @classmethod
    def of_secret(cls, secret: str) -> KeyPair:
        return cls(zmq.curve_public(secret.encode()).decode(), secret)


@dataclass(frozen=True, slots=True)
class ClientKeys:
    """What a client needs: a pair of its own, and the engine's public key."""

    pair: KeyPair
    server: str

    def secure(self, socket: zmq.Socket[bytes]) -> None:
        """`socket`, of any kind and not connected yet, will speak CURVE to the engine."""
        socket.setsockopt(zmq.CURVE_SERVERKEY, self.server.encode())
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self.pair.public.encode())
        socket.setsockopt(zmq.CURVE_SECRETKEY, self.pair.secret.encode())


@dataclass(frozen=True, slots=True)
class Client:
    """One line of the list."""

    role: Role
    key: str
    name: str


AllowList = Mapping[str, Client]
"""By public key."""


def fingerprint(key: str) -> str:
    """What logs and listings show of a public key: the head of the SHA-256 of its 32 bytes, in hex."""
    return hashlib.sha256(z85.decode(key)).hexdigest()[:_FINGERPRINT_DIGITS]


def encode_key(data: bytes) -> str:
    """data: 32 bytes."""
    return z85.encode(data).decode()


def is_key(text: str) -> bool:
    """Whether `text` is 32 bytes in Z85; five characters can also say more than four bytes hold."""
    if re.fullmatch(_KEY_PATTERN, text) is None:
        return False
    try:
        return len(z85.decode(text)) == 32
    except struct.error:
        return False


def _mistake_about_key(text: str) -> str:
    """A secret may stand there: it is not repeated."""
    return f"{len(text)} characters that are no key: a key is 40 characters of Z85"


def encode_key_file(comment: str, keys: Mapping[str, str]) -> str:
    return "".join([f"# {comment}\n", *(f"{word} {key}\n" for word, key in keys.items())])


def decode_key_file(text: str, name: str, words: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, str]:
    """The keys in a key file by their words. Raises: ConfigError with every mistake; no key stands in it."""
    found: dict[str, str] = {}
    mistakes: list[str] = []
    known = ", ".join((*words, *optional))
    for number, line in _lines(text):
        word, *rest = line.split()
        if word not in (*words, *optional) or len(rest) != 1:
            mistakes.append(f"{name}:{number}: a line is a word and its key; words are {known}")
        elif not is_key(rest[0]):
            mistakes.append(f"{name}:{number}: {word} = {_mistake_about_key(rest[0])}")
        elif word in found:
            mistakes.append(f"{name}:{number}: {word} stands there twice")
        else:
            found[word] = rest[0]
    if not mistakes:
        mistakes += [f"{name}: no line `{word} KEY`" for word in words if word not in found]
    if mistakes:
        raise ConfigError(mistakes)
    return found


def encode_client(client: Client) -> str:
    return f"{client.role} {client.key} {client.name}\n"


def decode_allow_list(text: str, name: str) -> AllowList:
    """Who may come in. Raises: ConfigError with every mistake, each with its line and what is allowed."""
    clients: dict[str, Client] = {}
    lines_of_names: dict[str, int] = {}
    lines_of_keys: dict[str, int] = {}
    mistakes: list[str] = []
    for number, line in _lines(text):
        try:
            client = _decode_client(line)
        except ConfigError as error:
            mistakes += [f"{name}:{number}: {mistake}" for mistake in error.mistakes]
            continue
        if client.key in lines_of_keys:
            mistakes.append(f"{name}:{number}: the key of {client.name} stands in line {lines_of_keys[client.key]} too")
        if client.name in lines_of_names:
            mistakes.append(f"{name}:{number}: the name {client.name} stands in line {lines_of_names[client.name]} too")
        lines_of_keys.setdefault(client.key, number)
        lines_of_names.setdefault(client.name, number)
        clients[client.key] = client
    if len(clients) > CLIENTS_MAX:
        mistakes.append(f"{name}: {len(clients)} clients; at most {CLIENTS_MAX}")
    if mistakes:
        raise ConfigError(mistakes)
    return clients


def _decode_client(line: str) -> Client:
    words = line.split()
    if len(words) != 3:
        raise ConfigError([f"{len(words)} words: a line is ROLE KEY NAME"])
    role, key, name = words
    mistakes: list[str] = []
    if role not in set(Role):
        mistakes.append(f"role = {role!r}: one of {', '.join(Role)}")
    if not is_key(key):
        mistakes.append(f"key = {_mistake_about_key(key)}")
    if re.fullmatch(CLIENT_NAME_PATTERN, name) is None:
        mistakes.append(f"name = {name!r}: {CLIENT_NAME_ALLOWED}")
    if mistakes:
        raise ConfigError(mistakes)
    return Client(Role(role), key, name)


def without_client(text: str, name: str) -> str:
    """The list without the line of `name`; what else stands there stays as it was written."""
    kept = [line for line in text.split("\n") if line.startswith("#") or line.split()[2:] != [name]]
    return "\n".join(kept)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Those that say something, by their numbers."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.startswith("#"):
            yield number, line
