"""Golden frames of every reply: the design's examples verbatim, read back by plain json."""

from __future__ import annotations

import json

import pytest

from protocol import commands
from protocol.commands import Reply, encode_reply, error_reply

_CHILD = commands.ChildRow(
    name="risk", state="ready", pid=7, incarnation=2, restarts=1, cpu_percent=1.5, memory_bytes=1024, lsn=9,
    journal_lag=0, market_position=5, counters={"signals": 3}, started_us=2, last_error="no room",
    queues=[commands.QueueRow(name="appends", peer="wal", depth=1, limit=50_000, when_full="wait")],
)  # fmt: skip

GOLDEN: list[tuple[str, Reply, bytes]] = [
    ("PING", commands.TextReply(response="PONG"), b'{"status":"ok","response":"PONG"}'),
    (
        "STATUS",
        commands.StatusReply(
            halted=False,
            positions=[
                commands.PositionRow(symbol="AAPL", net_quantity=3.0, average_price=150.5, realized_pnl=12.75)
            ],
        ),
        b'{"status":"ok","halted":false,"positions":[{"symbol":"AAPL","net_quantity":3.0,"average_price":150.5,'
        b'"realized_pnl":12.75}]}',
    ),
    ("HALT", commands.HaltReply(response="Trading halted"), b'{"status":"ok","response":"Trading halted"}'),
    (
        "HALT under way",
        commands.HaltReply(response="Trading halted", in_flight=1, unsynced=1, already="by risk: drawdown"),
        b'{"status":"ok","response":"Trading halted","in_flight":1,"unsynced":1,"already":"by risk: drawdown"}',
    ),
    (
        "unknown",
        error_reply("Unknown command: BUY 7"),
        b'{"status":"error","response":"Unknown command: BUY 7"}',
    ),
    (
        "HEALTH",
        commands.HealthReply(
            engine="demo", version="0.1.0", mode="paper", boot_id="00ff", time_us=3,
            trading_state=commands.TradingStateRow(state="ACTIVE", by="", reason="", since_us=0),
            lsn=9, market_position=5, children=[_CHILD], disk_low=True, warnings=["make room"],
            telemetry="tcp://127.0.0.1:5557",
        ),
        b'{"status":"ok","engine":"demo","version":"0.1.0","mode":"paper","boot_id":"00ff","time_us":3,'
        b'"trading_state":{"state":"ACTIVE","by":"","reason":"","since_us":0},"lsn":9,"market_position":5,'
        b'"children":[{"name":"risk","state":"ready","pid":7,"incarnation":2,"restarts":1,"cpu_percent":1.5,'
        b'"memory_bytes":1024,"lsn":9,"journal_lag":0,"market_position":5,"counters":{"signals":3},'
        b'"started_us":2,"last_error":"no room",'
        b'"queues":[{"name":"appends","peer":"wal","depth":1,"limit":50000,"when_full":"wait"}]}],"disk_low":true,'
        b'"warnings":["make room"],"telemetry":"tcp://127.0.0.1:5557","broadcast":""}',
    ),
    (
        "ORDERS",
        commands.OrdersReply(
            orders=[
                commands.OrderRow(
                    order_id=1, symbol="AAPL", side="Buy", order_type="limit", status="Accepted", quantity=3.0,
                    filled_quantity=0.0, limit_price=150.5, average_price=0.0, strategy="sma", signal=4,
                    stop_price=0.0, reduce_only=True,
                )
            ]
        ),
        b'{"status":"ok","orders":[{"order_id":1,"symbol":"AAPL","side":"Buy","order_type":"limit",'
        b'"status":"Accepted","quantity":3.0,"filled_quantity":0.0,"limit_price":150.5,"average_price":0.0,'
        b'"strategy":"sma","signal":4,"stop_price":0.0,"reduce_only":true,"cancel_requested":false}]}',
    ),
    (
        "SYMBOLS",
        commands.SymbolsReply(symbols=[commands.SymbolRow(symbol_id=0, symbol="AAPL")]),
        b'{"status":"ok","symbols":[{"symbol_id":0,"symbol":"AAPL"}]}',
    ),
    (
        "ACCOUNT",
        commands.AccountReply(
            currency="USD", balance=10000.0, equity=9990.5, profit=-9.5, margin=0.0, margin_free=9990.5,
            margin_level=0.0, strategies=[
                commands.StrategyAccountRow(strategy="sma", balance=-9.0, equity=-9.5, profit=-0.5, margin=0.0)
            ],
        ),
        b'{"status":"ok","currency":"USD","balance":10000.0,"equity":9990.5,"profit":-9.5,"margin":0.0,'
        b'"margin_free":9990.5,"margin_level":0.0,'
        b'"strategies":[{"strategy":"sma","balance":-9.0,"equity":-9.5,"profit":-0.5,"margin":0.0}]}',
    ),
    (
        "LIMITS",
        commands.LimitsReply(limits=[
            commands.LimitRow(strategy="", limit="max_open_orders", value="5", used=2.0),
            commands.LimitRow(strategy="sma", limit="require_quote", value="true"),
        ]),
        b'{"status":"ok","limits":[{"strategy":"","limit":"max_open_orders","value":"5","used":2.0},'
        b'{"strategy":"sma","limit":"require_quote","value":"true"}]}',
    ),
    *(
        (verb, commands.OperationReply(response="Taken", lsn=133), b'{"status":"ok","response":"Taken","lsn":133}')
        for verb in ("REDUCE", "RESUME", "CANCEL", "FLATTEN", "DEPOSIT")
    ),
    *(
        (
            verb, commands.TextReply(response=f"{verb} risk: asked for; HEALTH shows it"),
            f'{{"status":"ok","response":"{verb} risk: asked for; HEALTH shows it"}}'.encode(),
        )
        for verb in ("RESTART", "PARK", "UNPARK")
    ),
    (
        "REDUCE on its way",
        commands.OperationReply(response="Taken", pending=1),
        b'{"status":"ok","response":"Taken","pending":1}',
    ),
]  # fmt: skip


@pytest.mark.parametrize(("verb", "reply", "frame"), GOLDEN, ids=[row[0] for row in GOLDEN])
def test_every_reply_has_its_golden_frame(verb: str, reply: Reply, frame: bytes) -> None:
    assert encode_reply(reply) == frame
    assert json.loads(frame, object_pairs_hook=list)[0][0] == "status"


def test_no_verb_and_no_reply_is_without_a_golden_frame() -> None:
    assert set(commands.VERBS) <= {verb for verb, _, _ in GOLDEN}
    assert {type(reply) for _, reply, _ in GOLDEN} == set(Reply.__subclasses__())
