"""Key files and the list of who may come in: what is written, what is refused, and `seawall keys`."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from harness import config_tree, to_toml
from hypothesis import given
from hypothesis import strategies as st

from protocol.curve_settings import CurveSettings
from protocol.errors import ConfigError
from protocol.key_files import KeyDirectory, check_keys, keys_of_environment, read_client_keys, read_public_key
from protocol.keys import (
    Client,
    KeyPair,
    Role,
    decode_allow_list,
    decode_key_file,
    encode_client,
    fingerprint,
    is_key,
)
from supervisor.cli.main import main

KEY, OTHER = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID", "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
"""Of the examples in zmq_curve(7)."""


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@pytest.mark.parametrize(
    ("text", "holds"),
    [(KEY, True), (KEY[:-1], False), (KEY + "0", False), (KEY[:-1] + "~", False), ("#" * 40, False),
     ("0" * 40, True), ("", False), (KEY[:-1] + "\n", False), ("é" * 40, False)],
)  # fmt: skip
def test_a_key_is_32_bytes_in_z85(text: str, holds: bool) -> None:
    assert is_key(text) is holds


def test_a_fingerprint_is_of_the_bytes() -> None:
    assert fingerprint("0" * 40) == "66687aadf862bd776c8fc18b8e9f8e20", "sha256 of 32 zeros"


def test_the_public_key_follows_from_the_secret_one_and_no_secret_is_shown() -> None:
    pair = KeyPair.make()
    assert KeyPair.of_secret(pair.secret) == pair
    assert pair.secret not in repr(pair)


# The list, and what its one mistake says.
MISTAKES = [
    (f"admin {KEY} me", ["list:1", "'admin'", "observer, operator"]),
    ("operator short me", ["list:1", "5 characters", "40 characters of Z85"]),
    (f"operator {KEY} 9", ["list:1", "'9'", "a letter"]),
    (f"operator {KEY}", ["list:1", "2 words", "ROLE KEY NAME"]),
    (f"operator {KEY} me too", ["list:1", "4 words", "ROLE KEY NAME"]),
    (f"# me\n\noperator {KEY} me\nobserver {KEY} you", ["list:4", "the key of you", "line 3"]),
    (f"operator {KEY} me\nobserver {OTHER} me", ["list:2", "the name me", "line 1"]),
]


@pytest.mark.parametrize(("text", "parts"), MISTAKES)
def test_a_mistake_in_the_list_names_line_value_and_what_is_allowed(text: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        decode_allow_list(text, "list")
    (mistake,) = caught.value.mistakes
    assert [part for part in parts if part not in mistake] == []


def test_a_list_says_who_may_do_what() -> None:
    clients = [Client(Role.OPERATOR, KEY, "me"), Client(Role.OBSERVER, OTHER, "eye")]
    text = "# who\n\n" + "".join(encode_client(client) for client in clients)
    assert decode_allow_list(text, "list") == {client.key: client for client in clients}


@given(st.text(max_size=200))
def test_any_text_is_a_list_or_a_config_error(text: str) -> None:
    for decode in (lambda: decode_allow_list(text, "list"), lambda: decode_key_file(text, "file", ("secret",))):
        with contextlib.suppress(ConfigError):
            decode()


def test_a_key_file_that_is_wrong_does_not_show_what_stands_in_it() -> None:
    secret = KeyPair.make().secret
    line = f"secret {secret}\n"
    for text in (f"secret {secret}x\n", f"secrets {secret}\n", f"{secret}\n", line + line, ""):
        with pytest.raises(ConfigError) as caught:
            decode_key_file(text, "file", ("secret",))
        assert "file" in str(caught.value)
        assert secret not in str(caught.value)


# The files.


@pytest.fixture
def keys(tmp_path: Path) -> KeyDirectory:
    made = KeyDirectory(tmp_path / "keys")
    made.create()
    return made


def test_what_is_made_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        keys = KeyDirectory(tmp_path / "keys")
        keys.create()
        pair = KeyPair.make()
        keys.add(Client(Role.OPERATOR, pair.public, "me"), pair)
        keys.remove("me")
        path = keys.add(Client(Role.OPERATOR, pair.public, "me"), pair)
    finally:
        os.umask(before)
    assert path is not None
    assert [mode(one) for one in (keys.path, keys.clients)] == [0o700, 0o700]
    assert [mode(one) for one in (keys.secret, keys.public, keys.list, path)] == [0o600] * 4


def test_nothing_is_overwritten(keys: KeyDirectory) -> None:
    before = {path: path.read_bytes() for path in keys.path.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match="already"):
        keys.create()
    keys.list.unlink()
    with pytest.raises(ConfigError, match=r"server\.key"):
        keys.create()
    keys.list.write_bytes(before[keys.list])
    (keys.clients / "me.key").write_text("mine")
    pair = KeyPair.make()
    with pytest.raises(ConfigError, match="not overwritten"):
        keys.add(Client(Role.OPERATOR, pair.public, "me"), pair)
    assert (keys.clients / "me.key").read_text() == "mine"
    assert {path: path.read_bytes() for path in before} == before


def test_a_directory_that_others_look_into_is_not_taken(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(ConfigError, match="0755"):
        KeyDirectory(tmp_path).create()
    assert list(tmp_path.iterdir()) == []


def test_what_was_typed_into_the_list_stays(keys: KeyDirectory) -> None:
    text = f"# the desk\noperator {KEY} me"
    keys.list.write_text(text)
    keys.add(Client(Role.OBSERVER, OTHER, "eye"), None)
    assert keys.list.read_text() == f"{text}\n{encode_client(Client(Role.OBSERVER, OTHER, 'eye'))}"
    keys.remove("me")
    assert keys.list.read_text() == f"# the desk\nobserver {OTHER} eye\n"
    with pytest.raises(ConfigError, match="'me' is not on it; there is eye"):
        keys.remove("me")


SPOILED: dict[str, tuple[Callable[[KeyDirectory], object], str]] = {
    "no secret key": (lambda keys: keys.secret.unlink(), "server.key: No such file"),
    "read by the group": (lambda keys: keys.secret.chmod(0o640), "server.key: mode 0640"),
    "read by all": (lambda keys: keys.secret.chmod(0o604), "server.key: mode 0604"),
    "a directory": (lambda keys: (keys.secret.unlink(), keys.secret.mkdir()), "server.key: is no plain file"),
    "a FIFO": (lambda keys: (keys.secret.unlink(), os.mkfifo(keys.secret)), "server.key: is no plain file"),
    "no key": (lambda keys: keys.secret.write_text("secret me\n"), "server.key:1: secret = 2 characters"),
    "not UTF-8": (lambda keys: keys.secret.write_bytes(b"\xff"), "server.key: is not UTF-8"),
    "no list": (lambda keys: keys.list.unlink(), "clients.list: No such file"),
    "a list that others write": (lambda keys: keys.list.chmod(0o620), "clients.list: mode 0620"),
    "an unknown role": (lambda keys: keys.list.write_text(f"root {KEY} me"), "clients.list:1: role = 'root'"),
    "too long": (lambda keys: keys.list.write_text("#" * 300_000), "clients.list: more than 262144 bytes"),
}


@pytest.mark.parametrize("how", SPOILED)
def test_key_files_that_are_not_strict_or_not_right_are_refused_with_their_path(keys: KeyDirectory, how: str) -> None:
    settings = CurveSettings(keys=str(keys.path))
    assert check_keys(settings) == check_keys(None) == []
    spoil, said = SPOILED[how]
    spoil(keys)
    (mistake,) = check_keys(settings)
    assert mistake.startswith(f"gateway.curve.keys = '{keys.path}': {keys.path}/{said}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_key_file_of_another_user_is_refused(keys: KeyDirectory) -> None:
    os.chown(keys.secret, 12345, -1)
    (mistake,) = check_keys(CurveSettings(keys=str(keys.path)))
    assert "belongs to user 12345" in mistake


def test_a_client_finds_its_keys_by_the_environment(keys: KeyDirectory) -> None:
    pair = KeyPair.make()
    path = keys.add(Client(Role.OBSERVER, pair.public, "eye"), pair)
    server = keys.read_pair().public
    assert keys_of_environment({}) is None
    found = keys_of_environment({"SEAWALL_KEY": str(path)})
    assert found is not None
    assert (found.pair, found.server) == (pair, server)
    other = keys_of_environment({"SEAWALL_KEY": str(path), "SEAWALL_SERVER_KEY": OTHER})
    assert other is not None
    assert other.server == OTHER
    assert read_public_key(str(keys.public)) == server
    with pytest.raises(ConfigError, match="No such file"):
        keys_of_environment({"SEAWALL_KEY": "nowhere"})
    keys.secret.chmod(0o644)
    with pytest.raises(ConfigError, match="0644"):
        read_client_keys(keys.secret)


# The command line.


def seawall(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_seawall_keys_makes_adds_lists_and_removes(tmp_path: Path) -> None:
    directory = tmp_path / "keys"
    public = seawall("keys", "init", directory).stdout.strip()
    assert read_public_key(str(directory / "server.pub")) == public
    added = seawall("keys", "add", directory, "me", "--role", "operator")
    path = Path(added.stdout.strip())
    mine = read_client_keys(path)
    assert mine.server == public
    theirs = seawall("keys", "add", directory, "eye", "--role", "observer", "--public", OTHER, "-o", "json")
    assert json.loads(theirs.stdout) == {
        "name": "eye", "role": "observer", "fingerprint": fingerprint(OTHER), "public": OTHER, "secret_file": None
    }  # fmt: skip
    listed = seawall("keys", "list", directory, "-o", "json")
    assert [row["name"] for row in json.loads(listed.stdout)] == ["me", "eye"]
    table = seawall("keys", "list", directory).stdout
    assert all(part in table for part in (fingerprint(mine.pair.public), fingerprint(OTHER), "operator"))
    removed = seawall("keys", "remove", directory, "me")
    assert (removed.exit_code, path.exists()) == (0, False)
    assert mine.pair.secret not in "".join((added.output, listed.output, table, removed.output))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["init", "keys"], "already"),
        (["add", "keys", "me", "--role", "admin"], "'admin' is not one of"),
        (["add", "keys", "../me", "--role", "operator"], "'../me': a letter"),
        (["add", "keys", "me", "--role", "operator", "--public", "x"], "x: No such file"),
        (["remove", "keys", "me"], "'me' is not on it; there is nobody"),
        (["list", "nowhere"], "seawall keys"),
        (["add", "nowhere", "me", "--role", "operator"], "seawall keys init DIR"),
    ],
)
def test_a_mistake_with_seawall_keys_says_what_is_right(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    KeyDirectory("keys").create()
    result = seawall("keys", *words)
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr


@pytest.mark.parametrize("is_beyond", [False, True])
def test_check_warns_of_plain_text_beyond_loopback(is_beyond: bool, tmp_path: Path) -> None:
    address = "0.0.0.0" if is_beyond else "127.0.0.1"
    gateway = {**config_tree()["gateway"], "command": f"tcp://{address}:5556", "allow_plaintext_bind": True}
    config = tmp_path / "seawall.toml"
    config.write_text(to_toml(config_tree(gateway=gateway, engine={"run_dir": str(tmp_path / "run")})))
    result = seawall("check", config)
    assert (result.exit_code, result.stdout) == (0, "ok\n")
    warning = "Warning: gateway.command = 'tcp://0.0.0.0:5556': plain text beyond loopback"
    assert (warning in result.stderr) is is_beyond
