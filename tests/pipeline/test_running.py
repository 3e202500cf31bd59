"""One running engine, seen from outside: processes, telemetry, commands, the command line. Nothing here changes it."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator

import pytest
import zmq
from harness import EngineUnderTest, Subscriber, Tree, config_tree, sma_cross, wait_for

from protocol.client import control_endpoint

SYMBOLS = ("EURUSD", "GBPUSD")
TITLES = (
    "seawall: supervisor [test]",
    "seawall: nursery [test]",
    "seawall: wal [test]",
    "seawall: risk [test]",
    "seawall: strategy sma [test]",
    "seawall: strategy other [test]",
    "seawall: order_routing [test]",
    "seawall: gateway [test]",
    "seawall: market_data [test]",
)
BOOT_ORDER = ("wal", "risk", "strategy.sma", "strategy.other", "order_routing", "gateway", "market_data")
ORDER_KEYS = (
    "type", "order_id", "symbol", "side", "status", "previous_status", "quantity", "price", "filled_quantity",
)  # fmt: skip
POSITION_KEYS = ("type", "symbol", "net_quantity", "average_price", "realized_pnl")
HEALTH_KEYS = (
    "status", "engine", "version", "mode", "boot_id", "time_us", "trading_state", "lsn", "market_position", "children",
    "disk_low", "warnings", "telemetry", "broadcast",
)  # fmt: skip
CHILD_KEYS = (
    "name", "state", "pid", "incarnation", "restarts", "cpu_percent", "memory_bytes", "lsn", "journal_lag",
    "market_position", "counters", "started_us", "last_error", "queues",
)  # fmt: skip
ACCOUNT_KEYS = ("status", "currency", "balance", "equity", "profit", "margin", "margin_free", "margin_level",
                "strategies")  # fmt: skip
ROW_KEYS = (
    "order_id", "symbol", "side", "order_type", "status", "quantity", "filled_quantity", "limit_price",
    "average_price", "strategy", "signal", "stop_price", "reduce_only", "cancel_requested",
)  # fmt: skip


class Running:
    """The engine, and two subscribers that were there before it."""

    def __init__(self, engine: EngineUnderTest, telemetry: Subscriber, orders: Subscriber) -> None:
        self.engine, self.telemetry, self.orders = engine, telemetry, orders


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    instruments = [{"symbol": symbol, "tick_size": 0.00001, "lot_size": 1.0} for symbol in SYMBOLS]
    strategies = [sma_cross("sma", ["EURUSD"]), sma_cross("other", ["GBPUSD"], fast=20, slow=50)]
    tree = config_tree(instruments=instruments, strategies=strategies)
    engine = EngineUnderTest(tmp_path_factory.mktemp("running"), tree)
    running = Running(engine, engine.telemetry(), engine.telemetry("order_update"))
    with engine:
        wait_for(lambda: engine.records("POSITION_CLOSE"), "a round trip")
        yield running


@pytest.fixture
def engine(running: Running) -> EngineUnderTest:
    return running.engine


# Processes.


def test_all_processes_stand_in_ps_under_their_titles(engine: EngineUnderTest) -> None:
    assert sorted(engine.titles()) == sorted(TITLES)


def test_children_become_ready_in_boot_order(engine: EngineUnderTest) -> None:
    events = engine.log_events("child_ready")
    assert tuple(event["name"] for event in events) == BOOT_ORDER
    everything = engine.log_events()
    assert everything.index(engine.log_events("engine_ready")[0]) > everything.index(events[-1])


def test_the_log_off_a_terminal_is_json_line_by_line(engine: EngineUnderTest) -> None:
    lines = engine.log_text().splitlines()
    assert lines
    assert all({"event", "level", "timestamp"} <= json.loads(line).keys() for line in lines)


def test_pipes_and_control_socket_lie_in_a_private_directory(engine: EngineUnderTest) -> None:
    assert (engine.run_dir / "ipc").stat().st_mode & 0o777 == 0o700
    assert (engine.run_dir / "ipc" / "control").is_socket()


def test_journal_pages_and_lock_are_nobody_elses(engine: EngineUnderTest) -> None:
    for path in (engine.journal_path, engine.run_dir / "latch", engine.run_dir / "lock"):
        assert path.stat().st_mode & 0o077 == 0, path


# Telemetry.


def test_every_order_goes_from_new_over_accepted_to_filled(running: Running) -> None:
    def lives() -> dict[int, list[tuple[str, str]]]:
        found: dict[int, list[tuple[str, str]]] = {}
        for event in running.telemetry.events("order_update"):
            found.setdefault(event["order_id"], []).append((event["previous_status"], event["status"]))
        return {order_id: life for order_id, life in found.items() if life[-1][1] == "Filled"}

    complete = wait_for(lambda: found if len(found := lives()) >= 5 else None, "five orders from New to Filled")
    for life in complete.values():
        assert life == [("New", "New"), ("New", "Accepted"), ("Accepted", "Filled")]


def test_order_and_position_updates_have_exactly_the_documented_keys_type_first(running: Running) -> None:
    wait_for(lambda: running.telemetry.events("position_update"), "a position update")
    assert {tuple(event) for event in running.telemetry.events("order_update")} == {ORDER_KEYS}
    assert {tuple(event) for event in running.telemetry.events("position_update")} == {POSITION_KEYS}
    assert all(frame.startswith(b'{"type":"') for frame in running.telemetry.receive())
    compact = [frame for frame in running.orders.receive() if b" " not in frame]
    assert compact == running.orders.frames, "no white space between keys and values"


def test_the_prefix_of_a_kind_subscribes_to_that_kind_alone(running: Running) -> None:
    wait_for(running.orders.receive, "an order update")
    assert {event["type"] for event in running.orders.events()} == {"order_update"}


def test_order_updates_say_what_the_journal_says(running: Running) -> None:
    events = running.telemetry.events("order_update")
    journal = {entry.fields["order_id"]: entry.fields for entry in running.engine.records("ORDER_PLACE")}
    fills = {entry.fields["order_id"]: entry.fields for entry in running.engine.records("ORDER_UPDATE", report=2)}
    for event in events:
        place = journal[event["order_id"]]
        assert event["symbol"] == SYMBOLS[place["symbol_id"]]
        assert event["side"] == ("Buy", "Sell")[place["side"]]
        assert event["quantity"] == place["quantity"] / 1e6
        if event["status"] == "Filled":
            assert event["price"] == fills[event["order_id"]]["price"] / 1e6
            assert event["filled_quantity"] == event["quantity"]
        else:
            assert (event["price"], event["filled_quantity"]) == (0.0, 0.0)


def test_the_other_kinds_of_telemetry_come_too(running: Running) -> None:
    kinds = {"heartbeat", "account", "actor_state", "actor_stats"}
    wait_for(lambda: kinds <= {event["type"] for event in running.telemetry.events()}, f"{kinds}")
    beat = running.telemetry.events("heartbeat")[-1]
    assert beat["boot_id"] == running.engine.log_events("engine_ready")[0]["boot_id"]


def test_a_heartbeats_counts_are_what_was_sent_before_it(running: Running) -> None:
    beats = wait_for(
        lambda: found if len(found := running.telemetry.events("heartbeat")) >= 2 else None, "two heartbeats"
    )
    events = running.telemetry.events()
    first, last = beats[-2], beats[-1]
    between = events[events.index(first) : events.index(last)]
    for kind in ("order_update", "position_update", "account"):
        counted = last["telemetry_counts"].get(kind, 0) - first["telemetry_counts"].get(kind, 0)
        assert counted == sum(event["type"] == kind for event in between)


# Commands.


def endpoints(engine: EngineUnderTest) -> tuple[str, str]:
    return engine.endpoint("command"), control_endpoint(engine.run_dir)


@pytest.mark.parametrize("which", [0, 1], ids=["tcp", "control"])
def test_the_verbs_are_answered_on_tcp_and_on_the_control_socket(engine: EngineUnderTest, which: int) -> None:
    endpoint = endpoints(engine)[which]
    assert engine.ask("PING", endpoint) == {"status": "ok", "response": "PONG"}
    assert engine.ask("  PING\n", endpoint) == {"status": "ok", "response": "PONG"}
    status = engine.ask("STATUS", endpoint)
    assert list(status) == ["status", "halted", "positions"]
    assert status["halted"] is False
    assert {tuple(row) for row in status["positions"]} == {POSITION_KEYS[1:]}
    assert engine.ask("SYMBOLS", endpoint)["symbols"] == [
        {"symbol_id": 0, "symbol": "EURUSD"},
        {"symbol_id": 1, "symbol": "GBPUSD"},
    ]
    orders = engine.ask("ORDERS", endpoint)
    assert list(orders) == ["status", "orders"]
    assert all(tuple(row) == ROW_KEYS for row in orders["orders"])
    assert tuple(engine.ask("ACCOUNT", endpoint)) == ACCOUNT_KEYS


def test_account_adds_up(engine: EngineUnderTest) -> None:
    account = engine.ask("ACCOUNT")
    assert account["currency"] == "USD"
    owned = account["strategies"]
    assert {row["strategy"] for row in owned} == {strategy["name"] for strategy in engine.tree["strategies"]}
    assert sum(row["equity"] for row in owned) == pytest.approx(account["equity"] - 10_000, abs=1e-6)
    assert account["profit"] == pytest.approx(account["equity"] - account["balance"], abs=1e-6)
    assert account["margin_free"] == pytest.approx(account["equity"] - account["margin"], abs=1e-6)
    if account["margin"]:
        assert account["margin_level"] == pytest.approx(100 * account["equity"] / account["margin"])


def test_status_is_the_independent_fold_of_the_journal(engine: EngineUnderTest) -> None:
    engine.assert_status_is_folded()


@pytest.mark.parametrize("text", ["NONSENSE", "ping", "PING PONG", "STATUS now"])
def test_an_unknown_command_is_repeated_in_an_error_reply(engine: EngineUnderTest, text: str) -> None:
    assert engine.ask(text) == {"status": "error", "response": f"Unknown command: {text}"}


def test_health_knows_every_child_as_the_system_does(engine: EngineUnderTest) -> None:
    def health_with_cpu() -> dict[str, object] | None:
        reply = engine.ask("HEALTH")
        return reply if any(child["cpu_percent"] > 0 for child in reply["children"]) else None

    wait_for(health_with_cpu, "cpu_percent, which needs two looks")
    wait_for(lambda: not _missing_queues(engine.ask("HEALTH")), "every process to have told of its queues")
    health = engine.ask("HEALTH")
    assert tuple(health) == HEALTH_KEYS
    assert health["engine"] == "test"
    assert health["mode"] == "paper"
    assert health["trading_state"]["state"] == "ACTIVE"
    assert [child["name"] for child in health["children"]] == list(BOOT_ORDER)
    for child in health["children"]:
        assert tuple(child) == CHILD_KEYS
        assert child["state"] == "ready"
        assert child["pid"] == engine.child_pid(child["name"])
        assert (child["incarnation"], child["restarts"]) == (1, 0)
        assert child["memory_bytes"] > 1 << 20
        assert 0 < child["started_us"] < health["time_us"]
        assert child["last_error"] == ""
        assert all(0 <= queue["depth"] <= queue["limit"] and queue["when_full"] for queue in child["queues"])
    assert health["lsn"] <= engine.journal[-1].lsn


def _missing_queues(health: Tree) -> set[tuple[str, str]]:
    """(name, peer) of what every engine has, and HEALTH does not show yet."""
    consumers = ("risk", "order_routing", "gateway", "strategy.sma")
    wanted = {(stream, name) for stream in ("journal", "market") for name in consumers}
    wanted |= {("appends", "wal"), ("batch", ""), ("signals-asked", "risk"), ("commands", "wal")}
    return wanted - {(queue["name"], queue["peer"]) for child in health["children"] for queue in child["queues"]}


# Bad input.


def test_of_a_thousand_pings_in_flight_each_is_answered_or_counted_as_dropped(engine: EngineUnderTest) -> None:
    """One client may leave 100 replies unread (actors/gateway.py); this test stands before all that drop any."""

    def dropped() -> int:
        return engine.row("gateway")["counters"].get("dropped_replies", 0)

    with engine.context.socket(zmq.DEALER) as dealer:
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.setsockopt(zmq.SNDHWM, 0)
        dealer.setsockopt(zmq.RCVHWM, 0)
        dealer.connect(engine.endpoint("command"))
        for _ in range(1000):
            dealer.send_multipart([b"", b"PING"])
        replies: list[bytes] = []

        def all_accounted_for() -> bool:
            while dealer.poll(0):
                replies.append(dealer.recv_multipart()[1])
            return len(replies) + dropped() == 1000

        wait_for(all_accounted_for, "1000 replies, sent or counted as dropped")
    assert len(replies) >= 100
    assert set(replies) == {b'{"status":"ok","response":"PONG"}'}
    assert_unharmed(engine)


@pytest.mark.parametrize(
    ("frames", "response"),
    [
        ([b"\xff\xfe PING"], "A request is UTF-8 text"),
        ([b""], "Empty request"),
        ([b"  \n"], "Empty request"),
        ([b"PING", b"PING"], "A request is one frame, this one has 2"),
        ([b"P" * 5000], "A request has at most 4096 bytes, this one has 5000"),
    ],
    ids=["not UTF-8", "empty", "blank", "two frames", "too long"],
)
def test_a_malformed_command_gets_an_error_reply(engine: EngineUnderTest, frames: list[bytes], response: str) -> None:
    with engine.context.socket(zmq.REQ) as request:
        request.setsockopt(zmq.LINGER, 0)
        request.connect(engine.endpoint("command"))
        request.send_multipart(frames)
        assert request.poll(30_000)
        assert request.recv_json() == {"status": "error", "response": response}
        request.send(b"PING")
        assert request.poll(30_000)
        assert request.recv_json() == {"status": "ok", "response": "PONG"}, "the same client goes on"


def assert_unharmed(engine: EngineUnderTest) -> None:
    for endpoint in endpoints(engine):
        assert engine.ask("PING", endpoint) == {"status": "ok", "response": "PONG"}
    assert not engine.log_events("child_died")


def test_a_frame_far_too_large_cuts_off_its_sender_alone(engine: EngineUnderTest) -> None:
    with engine.context.socket(zmq.DEALER) as dealer:
        dealer.setsockopt(zmq.LINGER, 0)
        monitor = dealer.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        dealer.connect(engine.endpoint("command"))
        dealer.send_multipart([b"", b"P" * 100_000])
        assert monitor.poll(30_000), "the connection is cut"
        dealer.disable_monitor()
    assert_unharmed(engine)


def test_a_dealers_garbage_harms_nobody(engine: EngineUnderTest) -> None:
    with engine.context.socket(zmq.DEALER) as dealer:
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.connect(engine.endpoint("command"))
        for frames in ([b"HALT"], [b"x", b"HALT"], [b"HALT"] * 9, [b"", b"", b"HALT"], [b"", b"\0HALT"], [b""]):
            dealer.send_multipart(frames)
        dealer.send_multipart([b"", b"PING"])
        replies: list[list[bytes]] = []
        while not replies or b"PONG" not in replies[-1][-1]:
            assert dealer.poll(30_000)
            replies.append(dealer.recv_multipart())
    assert all(b'"status":"error"' in frames[-1] for frames in replies[:-1])
    assert engine.ask("STATUS")["halted"] is False
    assert_unharmed(engine)


def test_a_correlating_client_gets_its_number_back(engine: EngineUnderTest) -> None:
    with engine.context.socket(zmq.REQ) as request:
        request.setsockopt(zmq.LINGER, 0)
        request.setsockopt(zmq.REQ_CORRELATE, 1)
        request.connect(engine.endpoint("command"))
        for _ in range(3):
            request.send(b"PING")
            assert request.poll(30_000)
            assert request.recv_json() == {"status": "ok", "response": "PONG"}


def test_raw_bytes_and_silence_on_the_port_harm_nobody(engine: EngineUnderTest) -> None:
    port = int(engine.endpoint("command").rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)) as garbage:
        garbage.sendall(b"GET / HTTP/1.0\r\n\r\n" + struct.pack("<Q", 2**63) * 100)
        assert_unharmed(engine)


def test_a_client_that_never_reads_makes_nobody_wait(engine: EngineUnderTest) -> None:
    with engine.context.socket(zmq.DEALER) as silent:
        silent.setsockopt(zmq.LINGER, 0)
        silent.setsockopt(zmq.RCVHWM, 1)
        silent.connect(engine.endpoint("command"))
        for _ in range(900):
            silent.send_multipart([b"", b"STATUS"])
        assert_unharmed(engine)


def test_a_client_that_leaves_before_its_reply_harms_nobody(engine: EngineUnderTest) -> None:
    for _ in range(20):
        with engine.context.socket(zmq.REQ) as request:
            request.setsockopt(zmq.LINGER, 0)
            request.connect(engine.endpoint("command"))
            request.send(b"STATUS")
    assert_unharmed(engine)


# The command line, against the same engine.


def test_status_positions_and_ping_answer_on_the_command_line(engine: EngineUnderTest) -> None:
    status = engine.cli("status", "-o", "json", "seawall.toml")
    assert status.returncode == 0
    assert json.loads(status.stdout)["halted"] is False
    positions = engine.cli("positions", "--run-dir", "run")
    assert positions.returncode == 0
    assert "EURUSD" in positions.stdout
    ping = engine.cli("ping", "--endpoint", engine.endpoint("command"))
    assert (ping.returncode, ping.stdout.strip()) == (0, "PONG")


def test_status_on_the_command_line_has_the_trading_state_positions_and_every_process(engine: EngineUnderTest) -> None:
    told = engine.cli("status", "seawall.toml")
    assert (told.returncode, told.stderr) == (0, "")
    first, *lines = told.stdout.splitlines()
    assert first == "test: ACTIVE"
    engine.row("wal", with_counters=True)
    children = {child["name"]: child for child in engine.ask("HEALTH")["children"]}
    rows = {name: line.split() for line in lines for name in BOOT_ORDER if line.startswith(f"{name} ")}
    assert tuple(rows) == BOOT_ORDER
    assert {name: row[1:3] for name, row in rows.items()} == {
        name: ["ready", str(child["pid"])] for name, child in children.items()
    }
    assert any(line.startswith("EURUSD ") for line in lines)
    assert " s " in lines[-1], "uptime"
    wide = engine.cli("health", "seawall.toml", "-o", "wide")
    assert wide.returncode == 0
    queues = {f"{queue['name']} to {queue['peer']} " if queue["peer"] else f"{queue['name']} "
              for child in children.values() for queue in child["queues"]}  # fmt: skip
    assert len(queues) > len(BOOT_ORDER)
    assert [queue for queue in queues if queue not in wide.stdout] == []


def test_health_orders_and_status_check_answer_on_the_command_line(engine: EngineUnderTest) -> None:
    engine.row("gateway")
    health = engine.cli("health", "seawall.toml", "-o", "json")
    assert health.returncode == 0
    assert [child["name"] for child in json.loads(health.stdout)["children"]] == list(BOOT_ORDER)
    orders = engine.cli("orders", "seawall.toml", "-o", "json")
    assert orders.returncode == 0
    assert list(json.loads(orders.stdout)) == ["status", "orders"]
    assert engine.cli("status", "--check", "seawall.toml").returncode == 0


def test_the_journal_of_a_running_engine_can_be_inspected(engine: EngineUnderTest) -> None:
    before = len(engine.journal)
    shown = engine.cli("wal", "inspect", "run", "-o", "json")
    rows = [json.loads(line) for line in shown.stdout.splitlines()]
    assert shown.returncode == 0
    assert before <= len(rows) <= len(engine.journal)
    assert [row["lsn"] for row in rows] == [entry.lsn for entry in engine.journal[: len(rows)]]


def test_a_second_engine_on_the_same_run_dir_is_refused(
    engine: EngineUnderTest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tree = config_tree(engine={"run_dir": str(engine.run_dir)})
    second = EngineUnderTest(tmp_path_factory.mktemp("second"), tree)
    try:
        second.start()
        assert second.wait() == 2
        assert f"locked by another engine, pid {engine.process.pid}" in second.log_text()
        assert "engine.run_dir" in second.log_text()
    finally:
        second.close()
    assert_unharmed(engine)
