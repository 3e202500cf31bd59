"""Each attack of attack.py once, against one engine; and what becomes of a gateway that does reach its memory's cap."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from attack import WITHOUT_HALT, Siege, attacked, besieged_engine
from crashes import FILES, Tail, often
from harness import EngineUnderTest, config_tree, wait_for
from zmtp import OLD_GREETINGS, dial

SECONDS = 0.3
FIELD_NOTES = {
    "slow subscribers": "PUB to a connected SUB that does not read",
    "connections": "ipc binder out of file descriptors",
    "half handshakes": "300 malformed handshakes",
    "oversized frames": "oversized frame",
    "unfinished multiparts": "MAXMSGSIZE and one unfinished multipart",
}
"""What one knows of ZeroMQ that an attack makes use of."""


@pytest.fixture(scope="module")
def siege(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Siege]:
    with besieged_engine(tmp_path_factory.mktemp("siege")) as engine:
        yield Siege(engine)


@pytest.mark.parametrize("name", WITHOUT_HALT, ids=lambda name: FIELD_NOTES.get(name, name))
def test_an_attack_is_not_noticed_by_those_who_trade_and_leaves_all_as_it_was(siege: Siege, name: str) -> None:
    assert siege.endure(name, SECONDS).fills


@pytest.mark.parametrize("greeting", OLD_GREETINGS.values(), ids=OLD_GREETINGS)
@pytest.mark.parametrize("which", ["command", "telemetry", "broadcast"])
def test_who_speaks_a_protocol_at_which_libzmq_aborts_is_hung_up_on(siege: Siege, which: str, greeting: bytes) -> None:
    with dial(siege.engine.endpoint(which)) as peer, suppress(ConnectionResetError):
        peer.sendall(greeting)
        while peer.recv(1 << 16):
            pass


def test_a_halt_from_the_shell_is_carried_out_while_all_attack_and_a_flood_of_halts_is_one(tmp_path: Path) -> None:
    with besieged_engine(tmp_path) as engine:
        siege = Siege(engine)
        siege.halt_under_all()
        siege.halt_flood()
        assert engine.stop() == 0


def test_a_gateway_that_gets_no_more_memory_comes_back_and_the_others_trade_on(tmp_path: Path) -> None:
    """Its cap is drawn so tight that it is reached before outsiders are cut off."""
    with EngineUnderTest(tmp_path, config_tree(strategies=[often()]), files=FILES) as engine:
        tail = Tail(engine)
        tail.wait_for_fills("the start")
        gateway = engine.child_pid("gateway")
        others = set(engine.pids()) - {gateway}
        data_bytes = int(Path(f"/proc/{gateway}/statm").read_text().split()[5]) * resource.getpagesize()
        cap = data_bytes + (8 << 20)
        resource.prlimit(gateway, resource.RLIMIT_DATA, (cap, cap))
        with attacked(engine, "unfinished multiparts"):
            wait_for(lambda: engine.log_events("child_died", name="gateway"), "the gateway's death")
            tail.wait_for_fills("the gateway's death")
        wait_for(lambda: len(engine.log_events("child_ready", name="gateway")) > 1, "the gateway's next life")
        assert others <= set(engine.pids())
        assert engine.ask("STATUS")["halted"] is False
        assert engine.cli("halt", "enough", "--run-dir", "run").returncode == 0
        assert engine.stop() == 0
