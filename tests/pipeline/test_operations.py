"""An operator's COMMANDs on a real engine: carried out once, whoever dies; and what is said of them (H1)."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from harness import NO_DEADLINES, EngineUnderTest, Tree, config_tree, wait_for
from journal_reader import Holding
from own_files import OWN_FILES, own

from protocol.commands import VERBS

FLAT = Holding(0, 0, 0)
PATIENT: Tree = {"deadlines": NO_DEADLINES}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineUnderTest]:
    limits = {"max_order_value": 1e6, "max_daily_loss": 1e6}  # risk asks the market, over its lives too
    tree = config_tree(risk=limits, supervisor=PATIENT)
    with EngineUnderTest(tmp_path_factory.mktemp("operations"), tree) as engine:
        yield engine


def resting(engine: EngineUnderTest) -> list[Tree]:
    return [row for row in engine.ask("ORDERS")["orders"] if row["status"] == "Accepted"]


def state(engine: EngineUnderTest) -> str:
    return engine.ask("HEALTH")["trading_state"]["state"]


def control(engine: EngineUnderTest, text: str) -> Tree:
    """Asked on the control socket, as the command line does."""
    with engine.client as client:
        return client.request(text)


def taken(engine: EngineUnderTest, text: str) -> int:
    """The LSN of its COMMAND, however long the disk takes; said again under its token meanwhile."""
    return wait_for(lambda: control(engine, text).get("lsn"), f"{text} is on disk")


def resume(engine: EngineUnderTest) -> None:
    """Trading is ACTIVE: the tests of this engine may come in any order."""
    if state(engine) != "ACTIVE":
        taken(engine, f"RESUME id={len(engine.records('COMMAND'))}")
        wait_for(lambda: state(engine) == "ACTIVE", "ACTIVE again")


def ended(engine: EngineUnderTest, lsn: int) -> bool:
    done = [entry for entry in engine.records("COMMAND") if entry.fields["ends_lsn"] == lsn]
    return bool(done) or bool([e for e in engine.records("ADJUST") if e.fields["command_lsn"] == lsn])


def test_plain_tcp_may_reduce_and_the_control_socket_alone_resumes(engine: EngineUnderTest) -> None:
    resume(engine)
    assert engine.ask("REDUCE too wild")["response"] == "Taken"
    wait_for(lambda: state(engine) == "REDUCING", "REDUCING")
    refused = engine.ask("RESUME")
    assert (refused["status"], refused["response"].split(":")[0]) == ("error", "RESUME")
    assert engine.cli("status", "--check", "seawall.toml").returncode == 151
    wait_for(lambda: engine.records("SIGNAL_REFUSED", reason="trading_reducing"), "what does not reduce is refused")
    done = engine.cli("resume", "seawall.toml")
    assert (done.returncode, done.stdout.split("(")[0].strip()) == (0, "Taken")
    wait_for(lambda: state(engine) == "ACTIVE", "ACTIVE again")


def test_no_verb_of_the_control_socket_is_taken_on_plain_tcp(engine: EngineUnderTest) -> None:
    before = len(engine.records("COMMAND"))
    for verb in (verb for verb in VERBS.values() if not verb.anywhere):
        argument = {"": "", "id or ALL": "ALL"}.get(verb.arguments, "1")
        refused = engine.ask(f"{verb.name} {argument}")
        assert (refused["status"], "control socket only" in refused["response"]) == ("error", True), refused
    assert len(engine.records("COMMAND")) == before


def test_a_command_that_risk_did_not_live_to_see_is_carried_out_by_its_next_life(engine: EngineUnderTest) -> None:
    """The gateway answers when it is on disk, and asks nobody."""
    engine.ask("REDUCE")
    wait_for(lambda: state(engine) == "REDUCING", "REDUCING")
    assert engine.ask("REDUCE") == {"status": "ok", "response": "Trading is REDUCING already"}
    taken(engine, "FLATTEN id=flat")
    wait_for(lambda: not engine.status_positions().get("EURUSD", FLAT).net_quantity, "flat")
    before = engine.ask("ACCOUNT")["balance"]
    os.kill(engine.child_pid("risk"), signal.SIGSTOP)
    lsn = taken(engine, "DEPOSIT 250.5 a gift id=gift-1")
    assert not ended(engine, lsn)
    engine.kill_and_wait_ready("risk")
    wait_for(lambda: ended(engine, lsn), "the deposit")
    assert taken(engine, "DEPOSIT 250.5 a gift id=gift-1") == lsn, "said again it is the same"
    for _ in range(2):
        engine.kill_and_wait_ready("risk")
    adjusts = [entry.fields for entry in engine.records("ADJUST")]
    assert [fields["command_lsn"] for fields in adjusts] == [lsn]
    assert not engine.log_events("actor_failed")
    assert engine.ask("ACCOUNT")["balance"] == pytest.approx(before + 250.5, abs=1e-9)


def test_a_token_is_known_to_the_next_life_of_the_gateway(engine: EngineUnderTest) -> None:
    resume(engine)
    lsn = taken(engine, "RESUME id=twice")
    engine.kill_and_wait_ready("gateway")
    assert taken(engine, "RESUME id=twice") == lsn
    assert "another command" in control(engine, "FLATTEN id=twice")["response"]
    assert len(engine.records("COMMAND", token="twice", ends_lsn=0)) == 1


def test_what_became_of_cancels_is_told_as_it_was_seen(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Kill switch: "a cancel routine that says True though cancels failed"."""
    tree = config_tree(strategies=[own("Resting")], supervisor=PATIENT)
    with EngineUnderTest(tmp_path_factory.mktemp("cancels"), tree, files=OWN_FILES) as engine:
        first, _ = wait_for(lambda: found if len(found := resting(engine)) == 2 else None, "two resting orders")
        done = engine.cli("cancel", "seawall.toml", str(first["order_id"]))
        assert done.returncode == 0, done.stderr
        assert "1 requested, 1 confirmed, 0 unknown" in done.stderr
        assert control(engine, f"CANCEL {first['order_id']}")["status"] == "error"

        os.kill(engine.child_pid("order_routing"), signal.SIGSTOP)
        done = engine.cli("cancel", "seawall.toml", "ALL", "--timeout", "1")
        assert (done.returncode, "1 requested, 0 confirmed, 1 unknown" in done.stderr) == (4, True), done.stderr
        engine.kill_and_wait_ready("order_routing")
        wait_for(lambda: not resting(engine), "the next life of order_routing cancels")

        done = engine.cli("flatten", "seawall.toml", "EURUSD")
        assert (done.returncode, "Flat." in done.stderr) == (0, True), done.stderr
        assert engine.status_positions()["EURUSD"].net_quantity == 0
        (closing,) = (entry.fields for entry in engine.records("ORDER_PLACE") if entry.fields["signal"] == 0)
        assert closing["reduce_only"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("CANCEL 999999", "order 999999 is not open"),
        ("FLATTEN XYZ", "'XYZ' is no symbol; known are EURUSD"),
    ],
)
def test_what_is_not_there_is_told(engine: EngineUnderTest, text: str, words: str) -> None:
    reply = control(engine, text)
    assert reply["status"] == "error"
    assert words in reply["response"]


def test_on_halt_flatten_closes_everything_and_nothing_else_leaves(tmp_path_factory: pytest.TempPathFactory) -> None:
    tree = config_tree(strategies=[own("Resting")], risk={"on_halt": "flatten"})
    with EngineUnderTest(tmp_path_factory.mktemp("flatten"), tree, files=OWN_FILES) as engine:
        wait_for(lambda: len(resting(engine)) == 2, "two resting orders")
        wait_for(lambda: engine.status_positions()["EURUSD"].net_quantity == 100, "a position")
        engine.ask("HALT")
        wait_for(lambda: engine.status_positions()["EURUSD"].net_quantity == 0, "flat")
        wait_for(lambda: not engine.ask("ORDERS")["orders"], "no open order")
        assert engine.ask("STATUS")["halted"] is True
        closing = [entry.fields for entry in engine.records("ORDER_PLACE") if entry.fields["signal"] == 0]
        assert [fields["quantity"] for fields in closing] == [100_000_000]
