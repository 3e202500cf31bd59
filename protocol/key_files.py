"""The key files of an engine and of its clients: read only if they are as strict as they must be, never overwritten.

    DIR/server.key         the engine's secret key: 0600
    DIR/server.pub         its public key, which every client needs
    DIR/clients.list       who may come in, for an editor too (keys.py has the format): 0600
    DIR/clients/NAME.key   a client's secret key and the engine's public one: 0600; it may be moved to that client

`seawall keys` writes them, in directories of mode 0700; the gateway, the client and the command line read them. A key
that others can read is no secret, and a list that others can write is everybody's: either is refused unread.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from protocol.curve_settings import CurveSettings
from protocol.durable import sync_directory
from protocol.errors import ConfigError
from protocol.keys import (
    AllowList,
    Client,
    ClientKeys,
    KeyPair,
    decode_allow_list,
    decode_key_file,
    encode_client,
    encode_key_file,
    is_key,
    without_client,
)

KEY_VARIABLE: Final = "SEAWALL_KEY"
"""Names the file of the client's key."""
SERVER_KEY_VARIABLE: Final = "SEAWALL_SERVER_KEY"
"""The engine's public key, or its file; without it, the one in the client's file counts."""
FILE_BYTES_MAX: Final = 256 * 1024
"""A list of CLIENTS_MAX clients has 90 KB."""
PRIVATE: Final = 0o600
PRIVATE_DIRECTORY: Final = 0o700
_LIST_HEAD: Final = "# Who may come in: ROLE KEY NAME, one a line; an observer subscribes, an operator commands too.\n"


class KeyDirectory:
    """The files of one engine."""

    def __init__(self, directory: str | Path) -> None:
        self.path = Path(directory)
        self.secret = self.path / "server.key"
        self.public = self.path / "server.pub"
        self.list = self.path / "clients.list"
        self.clients = self.path / "clients"

    def read_pair(self) -> KeyPair:
        """The engine's. Raises: ConfigError."""
        return KeyPair.of_secret(decode_key_file(_read_secret(self.secret), str(self.secret), ("secret",))["secret"])

    def read_list(self) -> AllowList:
        """Who may come in. Raises: ConfigError with every mistake."""
        return decode_allow_list(self.read_list_text(), str(self.list))

    def read_list_text(self) -> str:
        return _read(self.list, 0o022, "written")

    # What `seawall keys` does.

    def create(self) -> KeyPair:
        """A new pair for the engine, and a list with nobody on it. Raises: ConfigError; nothing is overwritten."""
        _make_private(self.path)
        if taken := [path.name for path in (self.secret, self.public, self.list) if path.exists()]:
            raise ConfigError([f"{self.path} has {', '.join(taken)} already; nothing was written"])
        pair = KeyPair.make()
        _write_new(self.secret, encode_key_file("The engine's secret key.", {"secret": pair.secret}))
        _write_new(self.public, encode_key_file("The engine's public key, for its clients.", {"public": pair.public}))
        _write_new(self.list, _LIST_HEAD)
        _make_private(self.clients)
        return pair

    def add(self, client: Client, pair: KeyPair | None) -> Path | None:
        """`client` is on the list. Its secret key is in the file that is returned; None: it has its pair already.

        Raises: ConfigError if the name or the key is taken, or its file is there; nothing is overwritten.
        """
        with self._locked():
            text = self.read_list_text()
            if text and not text.endswith("\n"):
                text += "\n"
            added = text + encode_client(client)
            decode_allow_list(text, str(self.list))
            decode_allow_list(added, str(self.list))
            path = None
            if pair is not None:
                _make_private(self.clients)
                path = self.clients / f"{client.name}.key"
                keys = {"secret": pair.secret, "server": self.read_pair().public}
                _write_new(path, encode_key_file(f"The secret key of {client.name}, {client.role}.", keys))
            self._replace_list(added)
            return path

    def remove(self, name: str) -> Client:
        """`name` is not on the list any more, and its secret key is gone from here. Raises: ConfigError."""
        with self._locked():
            text = self.read_list_text()
            clients = decode_allow_list(text, str(self.list)).values()
            found = next((client for client in clients if client.name == name), None)
            if found is None:
                known = ", ".join(client.name for client in clients) or "nobody"
                raise ConfigError([f"{self.list}: {name!r} is not on it; there is {known}"])
            self._replace_list(without_client(text, name))
            (self.clients / f"{name}.key").unlink(missing_ok=True)
            return found

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One change of the list at a time. Raises: ConfigError if the directory cannot be opened."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigError([f"{self.path}: {error.strerror}; `seawall keys init DIR` makes it"]) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _replace_list(self, text: str) -> None:
        """At once: a reader sees the old one or the new one. Under the lock."""
        new = self.list.with_suffix(".new")
        new.unlink(missing_ok=True)
        _write_new(new, text)
        was = self.list.stat()  # whoever may read it, an engine under another user say, may still
        with suppress(PermissionError):
            os.chown(new, was.st_uid, was.st_gid)
        new.chmod(stat.S_IMODE(was.st_mode))
        new.replace(self.list)
        sync_directory(self.path)


def check_keys(settings: CurveSettings | None) -> list[str]:
    """What the gateway would find wrong with the key files, each with its path and what is right."""
    mistakes: list[str] = []
    if settings is not None:
        directory = KeyDirectory(settings.keys)
        for read in (directory.read_pair, directory.read_list):
            try:
                read()
            except ConfigError as error:
                mistakes += [f"gateway.curve.keys = {settings.keys!r}: {mistake}" for mistake in error.mistakes]
    return mistakes


def read_client_keys(path: str | Path, server: str = "") -> ClientKeys:
    """The keys in a client's file. server: the engine's public key or its file; "": the one in the client's file.

    Raises: ConfigError.
    """
    found = decode_key_file(_read_secret(Path(path)), str(path), ("secret",), ("server",))
    public = read_public_key(server) if server else found.get("server", "")
    if not public:
        hint = f"the engine's public key; ${SERVER_KEY_VARIABLE} may name it"
        raise ConfigError([f"{path}: no line `server KEY`, {hint}"])
    return ClientKeys(KeyPair.of_secret(found["secret"]), public)


def read_config_keys(path: str) -> ClientKeys:
    """The client's key that a config names, and the public key of its engine. Raises: ConfigError.

    Nothing else of the config is read: it may be that of an engine on another machine, or be edited just now.
    """
    try:
        curve = tomllib.loads(Path(path).read_text(encoding="utf-8"))["gateway"]["curve"]
        client_key, directory = str(curve["client_key"]), str(curve["keys"])
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror}"]) from error
    except (ValueError, KeyError, TypeError) as error:
        hint = f"it needs gateway.curve.keys and .client_key; or name no config, and set ${KEY_VARIABLE}"
        raise ConfigError([f"{path}: names no keys for the endpoint ({error}): {hint}"]) from error
    public = KeyDirectory(directory).public
    return read_client_keys(client_key, str(public) if public.exists() else "")


def read_public_key(text: str) -> str:
    """A public key, written out or in the file of that name. Raises: ConfigError."""
    path = Path(text)
    if is_key(text) and not path.exists():
        return text
    return decode_key_file(_read(path, 0o022, "written"), text, ("public",))["public"]


def keys_of_environment(environment: Mapping[str, str] = os.environ) -> ClientKeys | None:
    """Those that $SEAWALL_KEY and $SEAWALL_SERVER_KEY name; None if they name none. Raises: ConfigError."""
    path = environment.get(KEY_VARIABLE, "")
    return read_client_keys(path, environment.get(SERVER_KEY_VARIABLE, "")) if path else None


def _read_secret(path: Path) -> str:
    return _read(path, 0o077, "read or written")


def _read(path: Path, forbidden: int, what: str) -> str:
    """The text of a plain file that is the caller's own, or root's. Raises: ConfigError.

    forbidden: bits of its mode. It is the opened file that is looked at: nobody can put another in its place.
    """
    try:
        # Without O_NONBLOCK a FIFO would be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror}; `seawall keys` makes it"]) from error
    try:
        _check_strict(path, os.fstat(descriptor), forbidden, what)
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise ConfigError([f"{path}: more than {FILE_BYTES_MAX} bytes, so no file of keys"])
        return data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: is not UTF-8 text"]) from error
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror}"]) from error
    finally:
        os.close(descriptor)


def _check_strict(path: Path, status: os.stat_result, forbidden: int, what: str) -> None:
    """Raises: ConfigError."""
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError([f"{path}: is no plain file"])
    if mode & forbidden:
        raise ConfigError([f"{path}: mode {mode:04o}: it can be {what} by others; chmod {PRIVATE:o} it"])
    if status.st_uid not in (os.geteuid(), 0):
        raise ConfigError([f"{path}: belongs to user {status.st_uid}; it must be {os.geteuid()}'s own, or root's"])


def _make_private(directory: Path) -> None:
    """It is there, and nobody else can look into it. Raises: ConfigError; the mode of one that is there stays."""
    try:
        directory.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        mode = stat.S_IMODE(directory.stat().st_mode)
    except OSError as error:
        raise ConfigError([f"{directory}: {error.strerror}"]) from error
    if mode & 0o077:
        raise ConfigError([f"{directory}: mode {mode:04o}: others can look into it; chmod {PRIVATE_DIRECTORY:o} it"])


def _write_new(path: Path, text: str) -> None:
    """On disk, and nobody else's to read. Raises: ConfigError if anything of that name is there."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE)
        with open(descriptor, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(descriptor)
        sync_directory(path.parent)
    except FileExistsError as error:
        raise ConfigError([f"{path} is there already, and is not overwritten; move it away"]) from error
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror}"]) from error
