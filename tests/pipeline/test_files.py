"""Recorded markets: a file runs from its first row to its last, the engine stops by itself and says what happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from harness import EngineUnderTest, config_tree, sma_cross
from journal_reader import FILL, Holding
from market_files import Quote, bid_ask, histdata, minute_bars, ohlc, quotes, trades
from own_files import OWN_FILES, own, seen

ROWS = quotes(600, step_s=10.0)


def csv_engine(
    directory: Path, texts: dict[str, str], strategies: list[dict[str, Any]] | None = None, **market: Any
) -> EngineUnderTest:
    """An engine that reads the first of `texts`, by file name, unless `market` names its files itself."""
    market = market if "files" in market else {"path": next(iter(texts)), "symbol": "EURUSD", **market}
    tree = config_tree(
        market_data={"source": "csv", **market},
        strategies=[sma_cross("sma", ["EURUSD"])] if strategies is None else strategies,
        order_routing={"commission_per_lot": 0.01},
    )
    return EngineUnderTest(directory, tree, files={**texts, **OWN_FILES})


def run(engine: EngineUnderTest) -> int:
    """The exit code of a whole run."""
    try:
        engine.start()
        return engine.wait()
    finally:
        engine.close()


def summary(engine: EngineUnderTest) -> dict[str, str]:
    lines = (line.rsplit("  ", 1) for line in engine.output().splitlines())
    return {name.strip(): text.strip() for name, text in lines}


def assert_ran_to_its_end(engine: EngineUnderTest, rows: int, ticks: int) -> None:
    """The summary is what the journal says, counted again."""
    said = summary(engine)
    assert (said["rows"], said["ticks"]) == (str(rows), str(ticks)), engine.output()
    orders, refused = len(engine.records("ORDER_PLACE")), len(engine.records("SIGNAL_REFUSED"))
    assert said["orders"] == f"{orders} (0 rejected), {refused} signals refused"
    assert said["fills"] == str(len(engine.records("ORDER_UPDATE", report=FILL)))
    holding = engine.independent_positions()["EURUSD"]
    assert said["profit EURUSD"] == f"{holding.realized_pnl:.6f} USD realized, position {holding.net_quantity:g}"
    commission = sum(entry.fields["commission"] for entry in engine.records("ORDER_UPDATE", report=FILL)) / 1e6
    assert commission > 0
    assert said["commission"] == f"{commission:.6f} USD"
    last = engine.journal[-1].fields
    assert (last["event"], last["by"]) == (1, "end_of_data")
    assert [step["step"] for step in engine.log_events("stop_step")] == list(range(1, 11))
    engine.assert_ids_are_used_once()


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineUnderTest]:
    """An engine that has run a file of ticks to its end."""
    strategies = [sma_cross("sma", ["EURUSD"]), own("Witness")]
    engine = csv_engine(tmp_path_factory.mktemp("ticks"), {"market.csv": bid_ask(ROWS)}, strategies, bars=[1])
    try:
        engine.start()
        assert engine.wait() == 0
        yield engine
    finally:
        engine.close()


def test_a_file_runs_from_its_first_row_to_its_last_and_the_engine_stops_with_code_0(ran: EngineUnderTest) -> None:
    assert len(ran.records("ORDER_PLACE")) > 20, "the strategy traded"
    assert_ran_to_its_end(ran, rows=len(ROWS), ticks=len(ROWS))


def test_fills_are_at_quotes_of_the_file_by_the_files_own_clock(ran: EngineUnderTest) -> None:
    sides = {entry.fields["order_id"]: entry.fields["side"] for entry in ran.records("ORDER_PLACE")}
    by_time = {row.time_us: row for row in ROWS}
    fills = [entry.fields for entry in ran.records("ORDER_UPDATE", report=FILL)]
    for fields in fills:
        quote = by_time[fields["venue_time"]]
        assert fields["price"] == (quote.bid if sides[fields["order_id"]] else quote.ask)
    times = [fields["venue_time"] for fields in fills]
    assert times == sorted(times)


def test_a_strategy_sees_the_bars_and_the_timers_of_the_files_clock(ran: EngineUnderTest) -> None:
    bars = seen(ran, "on_bar")
    expected = minute_bars(ROWS)
    assert [(bar["time"], bar["volume"]) for bar in bars] == [(bar.time_us / 1e6, bar.ticks) for bar in expected]
    assert [bar["prices"] for bar in bars] == [
        [bar.open / 1e6, bar.high / 1e6, bar.low / 1e6, bar.close / 1e6] for bar in expected
    ]
    minutes = (ROWS[-1].time_us - ROWS[0].time_us) // 60_000_000
    # A timer that is due before a tick runs before it (P1), so each sees six ticks more than the one before.
    assert [event["ticks"] for event in seen(ran, "on_minute")] == [6 * (index + 1) for index in range(minutes)]
    assert [event["symbols"] for event in seen(ran, "on_start")] == [["EURUSD"]]


def test_a_second_run_goes_on_from_the_first_ones_positions(ran: EngineUnderTest) -> None:
    first = ran.independent_positions()["EURUSD"]
    orders = len(ran.records("ORDER_PLACE"))
    ran.start()
    assert ran.wait() == 0
    profit = ran.independent_positions()["EURUSD"].realized_pnl - first.realized_pnl
    assert summary(ran)["profit EURUSD"].startswith(f"{profit:.6f} USD realized")
    assert summary(ran)["orders"].startswith(f"{len(ran.records('ORDER_PLACE')) - orders} (")
    ran.assert_ids_are_used_once()


@pytest.mark.parametrize(
    ("write", "ticks_a_row"),
    [(histdata, 1), (lambda rows: trades(rows, "EURUSD"), 1), (ohlc, 4)],
    ids=["histdata", "trades", "ohlc"],
)
def test_the_other_formats_run_to_their_end_too(
    tmp_path: Path, write: Callable[[list[Quote]], str], ticks_a_row: int
) -> None:
    rows = ROWS[:200]
    engine = csv_engine(tmp_path, {"market.csv": write(rows)})
    assert run(engine) == 0
    assert len(engine.records("ORDER_PLACE")) > 10, "the strategy traded"
    assert_ran_to_its_end(engine, rows=len(rows), ticks=len(rows) * ticks_a_row)
    times = [entry.fields["venue_time"] for entry in engine.records("ORDER_UPDATE", report=FILL)]
    assert rows[0].time_us <= min(times)
    assert max(times) <= rows[-1].time_us + 10_000_000


def test_several_files_are_merged_by_their_times(tmp_path: Path) -> None:
    """Two symbols whose rows stand between each other's, and a third that is not configured."""
    euro, pound = quotes(300, seed=1), quotes(300, seed=2, offset_s=2.5)
    other = trades(quotes(10, seed=3), "XAUUSD")
    engine = csv_engine(
        tmp_path,
        {"euro.csv": bid_ask(euro), "pound.csv": bid_ask(pound), "other.csv": other},
        strategies=[own("Witness"), own("Witness", "GBPUSD") | {"name": "pound"}, sma_cross("sma", ["GBPUSD"])],
        files=[
            {"path": "euro.csv", "symbol": "EURUSD"},
            {"path": "pound.csv", "symbol": "GBPUSD"},
            {"path": "other.csv"},
        ],
        bars=[5],
    )
    engine.tree["instruments"] = [
        {"symbol": symbol, "tick_size": 0.00001, "lot_size": 1.0} for symbol in ("EURUSD", "GBPUSD")
    ]
    engine.write_config()
    assert run(engine) == 0
    said = summary(engine)
    assert (said["rows"], said["ticks"], said["rows unknown"]) == ("610", "600", "10 skipped")
    stops = seen(engine, "on_stop")
    assert {(event["strategy"], event["ticks"]) for event in stops} == {("witness", 300), ("pound", 300)}
    times = {row.time_us for row in pound}
    fills = [entry.fields["venue_time"] for entry in engine.records("ORDER_UPDATE", report=FILL)]
    assert fills
    assert set(fills) <= times


def test_parquet_files_run_as_the_same_rows_do_in_csv(tmp_path: Path) -> None:
    """A range of the rows, with bars; the fills may differ from run to run, what a strategy sees may not."""
    start, end = (datetime.fromtimestamp(ROWS[index].time_us / 1e6, UTC).isoformat() for index in (100, 500))
    found: list[list[tuple[Any, ...]]] = []
    for name in ("market.csv", "market.parquet"):
        directory = tmp_path / name
        directory.mkdir()
        strategies = [sma_cross("sma", ["EURUSD"]), own("Witness")]
        texts, market = {"market.csv": bid_ask(ROWS)}, {"path": name, "bars": [1], "start": start, "end": end}
        engine = csv_engine(directory, texts, strategies, **market)
        engine.tree["market_data"]["source"] = name.rpartition(".")[2]
        engine.write_config()
        columns = {
            "timestamp": pa.array([row.time_us for row in ROWS], pa.timestamp("us")),
            "bid": [row.bid / 1e6 for row in ROWS],
            "ask": [row.ask / 1e6 for row in ROWS],
        }
        pq.write_table(pa.table(columns), engine.directory / "market.parquet", row_group_size=64)
        assert run(engine) == 0
        assert len(engine.records("ORDER_PLACE")) > 10
        assert_ran_to_its_end(engine, rows=400, ticks=400)
        found.append([(bar["time"], bar["prices"], bar["volume"]) for bar in seen(engine, "on_bar")])
    assert found[0] == found[1]
    assert len(found[0]) > 60


def test_a_vectorised_strategy_trades_on_slices(tmp_path: Path) -> None:
    vector = {
        "name": "vector",
        "class": "actors.strategies.vector_cross:VectorCross",
        "symbols": ["EURUSD"],
        "params": {"fast": 5, "slow": 10, "quantity": 100.0},
        "slice": 16,
    }
    engine = csv_engine(tmp_path, {"market.csv": bid_ask(ROWS)}, [vector])
    assert run(engine) == 0
    assert_ran_to_its_end(engine, rows=len(ROWS), ticks=len(ROWS))
    assert len(engine.records("ORDER_PLACE")) > 5


def test_a_bad_row_ends_the_run_with_file_line_and_reason(tmp_path: Path) -> None:
    lines = bid_ask(ROWS).splitlines()
    lines[300] = lines[300].replace("1.", "one.", 1)
    engine = csv_engine(tmp_path, {"market.csv": "\n".join(lines) + "\n"})
    assert run(engine) == 2
    log = engine.log_text()
    assert "market.csv:301:" in log
    assert "one." in log
    assert "Traceback" not in log


def test_bad_rows_that_may_be_skipped_are_counted(tmp_path: Path) -> None:
    lines = bid_ask(ROWS).splitlines()
    lines[300] = lines[300].replace("1.", "one.", 1)
    lines[400] = "nonsense"
    engine = csv_engine(tmp_path, {"market.csv": "\n".join(lines) + "\n"}, on_bad_row="skip")
    assert run(engine) == 0
    said = summary(engine)
    assert (said["rows"], said["ticks"], said["rows bad"]) == ("600", "598", "2 skipped")


def test_a_speed_factor_is_never_faster_than_the_recorded_pace_times_it(tmp_path: Path) -> None:
    """A lower bound only: how late a tick comes is the machine's business."""
    rows = quotes(21, step_s=3.0)
    engine = csv_engine(tmp_path, {"market.csv": bid_ask(rows)}, [own("Witness")], speed=60.0)
    assert run(engine) == 0
    released = engine.log_events("child_ready", name="gateway")[0]["timestamp"]
    ended = engine.log_events("engine_stopping")[0]["timestamp"]
    took_s = (datetime.fromisoformat(ended) - datetime.fromisoformat(released)).total_seconds()
    assert took_s >= 60 / 60.0
    assert [event["ticks"] for event in seen(engine, "on_stop")] == [21]


def test_a_file_without_strategies_runs_through(tmp_path: Path) -> None:
    engine = csv_engine(tmp_path, {"market.csv": bid_ask(ROWS)}, [])
    assert run(engine) == 0
    assert summary(engine)["ticks"] == "600"
    assert engine.independent_positions() == dict[str, Holding]()
