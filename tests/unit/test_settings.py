"""The config: every mistake names its path, its value and what is allowed."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import ConfigError
from protocol.settings import Config, config_hash, decode_config, encode_config, load_config, parse_config

MINIMAL = """
[engine]
run_dir = "run"
[[instruments]]
symbol = "EURUSD"
tick_size = 0.00001
lot_size = 1.0
[[strategies]]
name = "sma"
class = "actors.strategies.sma_cross:SmaCross"
symbols = ["EURUSD"]
params = { fast = 20, quantity = 100.5, nested = { levels = [0.5, 1] } }
"""


def _config(extra: str = "", *, replace: tuple[str, str] = ("", "")) -> Config:
    return parse_config(MINIMAL.replace(*replace) + extra, "c.toml")


def _mistakes(extra: str = "", *, replace: tuple[str, str] = ("", "")) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        _config(extra, replace=replace)
    return caught.value.mistakes


def test_a_socket_beyond_loopback_needs_curve_or_a_word() -> None:
    beyond = "[gateway]\ncommand = 'tcp://0.0.0.0:5556'\n"
    assert _config(beyond + "allow_plaintext_bind = true").gateway.curve is None
    curve = _config(beyond + "curve = { keys = 'keys' }").gateway.curve
    assert curve is not None
    assert curve.keys == "keys"


# section and line; then what the one message must contain: path, value, what is allowed
APPENDED = [
    ("[gatway]\ncommand = ''", ["gatway", "unknown section", "gateway"]),
    ("[gateway]\ncomand = ''", ["gateway.comand", "unknown key", "command"]),
    ("[risk]\nmax_drawdown = 'low'", ["risk.max_drawdown", "'low'"]),
    ("[risk]\nmax_drawdown = 500.0", ["risk.max_drawdown", "500", "below 0"]),
    ("[risk]\nmax_drawdown = -0.0000001", ["risk.max_drawdown", "0.000001"]),
    ("[risk]\nmax_position_per_symbol = 0", ["risk.max_position_per_symbol", "0", "above 0"]),
    ("[risk]\nmax_signal_age_ms = 0", ["risk.max_signal_age_ms", "0", "at least 1"]),
    ("[risk]\nmax_signal_age_ms = 1.5", ["risk.max_signal_age_ms", "1.5", "int"]),
    ("[risk]\non_halt = 'panic'", ["risk.on_halt", "'panic'", "'cancel'", "'hold'"]),
    ("[wal]\nsync = 'never'", ["wal.sync", "'never'", "'always'", "'interval'", "'off'"]),
    ("[wal]\nenabled = 'yes'", ["wal.enabled", "'yes'", "bool"]),
    ("[wal]\ninterval_ms = 0", ["wal.interval_ms", "0", "at least 1"]),
    ("[order_routing]\nvenue = 'nyse'", ["order_routing.venue", "'nyse'", "'paper'"]),
    ("[order_routing]\ncommission_per_lot = -1", ["order_routing.commission_per_lot", "-1", "0 or more"]),
    ("[order_routing]\ncommission_rate = -0.1", ["order_routing.commission_rate", "-0.1", "0 or more"]),
    ("[order_routing]\ncommission_minimum = -1", ["order_routing.commission_minimum", "-1", "0 or more"]),
    ("[order_routing]\ncommission_minimum = 0.0000001", ["order_routing.commission_minimum", "0.000001"]),
    ("[order_routing]\ncommission_minimum_per = 'day'", ["order_routing.commission_minimum_per", "'order'", "'fill'"]),
    ("[order_routing]\nlatency_us = -1", ["order_routing.latency_us", "-1", "0 to"]),
    ("[order_routing]\nslippage_ticks = -1", ["order_routing.slippage_ticks", "-1", "0 to"]),
    ("[order_routing]\ntrail_step_ticks = 0", ["order_routing.trail_step_ticks", "0", "1 to"]),
    ("[order_routing]\nday_end = '24:00'", ["order_routing.day_end", "'24:00'", "22:00"]),
    ("[order_routing]\nswap_rollover = '9:00'", ["order_routing.swap_rollover", "'9:00'", "22:00"]),
    ("[order_routing]\nswap_triple = 'sunday'", ["order_routing.swap_triple", "'sunday'", "'wednesday'", "'none'"]),
    ("[order_routing]\nmax_participation = 0", ["order_routing.max_participation", "0", "above 0, up to 1"]),
    ("[order_routing]\nmax_participation = 1.1", ["order_routing.max_participation", "1.1", "above 0, up to 1"]),
    ("[order_routing]\nmax_participation = 0.1", ["order_routing.max_participation", "0.1", "'synthetic'", "volumes"]),
    ("[order_routing]\nmax_participation = 0.1\n[market_data]\nsource = 'csv'\npath = 'a'\nsymbol = 'EURUSD'\n"
     "format = 'bid_ask'", ["order_routing.max_participation", "0.1", "'bid_ask'", "volumes"]),
    ("[market_data]\nohlc_path = 'open'", ["market_data.ohlc_path", "'by_close'", "'high_first'", "'low_first'"]),
    ("[account]\nleverage = 0", ["account.leverage", "0", "1 to 10000"]),
    ("[account]\ncurrency = 'dollars'", ["account.currency", "'dollars'", "USD"]),
    ("[account]\nbalance = 0.00000001", ["account.balance", "0.000001"]),
    ("[market_data]\nsource = 'ftp'", ["market_data.source", "'ftp'", "'synthetic'", "'csv'"]),
    ("[market_data]\nsource = 'csv'", ["market_data", "path", "files"]),
    ("[market_data]\nsource = 'csv'\npath = 'a.csv'\nfiles = [{ path = 'b.csv' }]", ["market_data", "not both"]),
    ("[market_data]\nsource = 'csv'\npath = 'a.csv'\nsymbol = 'X'", ["market_data", "'X'", "a.csv", "EURUSD"]),
    ("[market_data]\nsource = 'csv'\nfiles = [{ pat = 'b' }]", ["market_data.files[0]", "pat", "path"]),
    ("[market_data]\nformat = 'xml'", ["market_data.format", "'xml'", "'bid_ask'", "'histdata'", "'trades'", "'ohlc'"]),
    ("[market_data]\nsource = 'parquet'", ["market_data", "a parquet source", "path", "files"]),
    (
        "[market_data]\nsource = 'parquet'\npath = 'a.parquet'\nformat = 'histdata'",
        ["market_data.format", "'histdata'", "'bid_ask'", "'trades'", "'ohlc'"],
    ),
    ("[market_data]\ntime_unit = 'ms'", ["market_data.time_unit", "'ms'", "parquet"]),
    ("[market_data]\ninteger_prices = 'micros'", ["market_data.integer_prices", "'micros'", "parquet"]),
    ("[market_data]\ninteger_prices = 'pips'", ["market_data.integer_prices", "'pips'", "'units'", "'nanos'"]),
    ("[market_data]\nstart = '2024-01-01'", ["market_data.start", "2024-01-01", "files"]),
    ("[market_data]\nsource = 'csv'\npath = 'a'\nend = 'noon'", ["market_data.end", "'noon'", "ISO time or date"]),
    ("[market_data]\nsource = 'csv'\npath = 'a'\nend = 09:30:00", ["market_data.end", "str"]),
    (
        "[market_data]\nsource = 'csv'\npath = 'a'\nstart = 2024-01-02\nend = 2024-01-02T00:00:00Z",
        ["market_data.end", "later than start", "2024-01-02"],
    ),
    ("[market_data]\nspeed = 0.0", ["market_data.speed", "0", "max", "above 0"]),
    ("[market_data]\nspeed = 'fast'", ["market_data.speed", "'fast'", "'max'"]),
    ("[market_data]\nrate = 0.0", ["market_data.rate", "0", "above 0"]),
    ("[market_data]\nvolatility = 0.5", ["market_data.volatility", "0.5", "0.1"]),
    ("[market_data]\nutc_offset_hours = 25.0", ["market_data.utc_offset_hours", "25", "-24 to 24"]),
    ("[market_data]\nbars = [0]", ["market_data.bars", "0", "1 to 1440"]),
    ("[market_data]\nbars = [5, 5]", ["market_data.bars", "[5, 5]", "twice"]),
    ("[market_data]\non_bad_row = 'ignore'", ["market_data.on_bad_row", "'ignore'", "'error'", "'skip'"]),
    ("[gateway]\ncommand = '5556'", ["gateway.command", "'5556'", "tcp://ADDRESS:PORT"]),
    ("[gateway]\ncommand = 'tcp://0.0.0.0:5556'", ["gateway.command", "0.0.0.0", "allow_plaintext_bind"]),
    ("[gateway]\ncurve = { keys = '' }", ["gateway.curve.keys", "''", "seawall keys init"]),
    ("[gateway]\ncurve = { key = 'a' }", ["gateway.curve", "key"]),
    ("[gateway]\ncommand = 'tcp://127.0.0.1:5557'", ["gateway.telemetry", "5557", "gateway.command"]),
    ("[gateway]\naccount_interval_ms = 1", ["gateway.account_interval_ms", "1", "at least 10"]),
    ("[gateway]\nbroadcast_lossless = true", ["gateway.broadcast_lossless = true", "replay", "'paper'"]),
    ("[supervisor]\nrestarts = -1", ["supervisor.restarts", "-1", "at least 0"]),
    ("[supervisor]\nwindow_s = 0.0", ["supervisor.window_s", "0", "at least 0.1"]),
    ("[supervisor]\nready_timeout_s = 0.0", ["supervisor.ready_timeout_s", "0", "at least 0.1"]),
    ("[supervisor]\nstop_timeout_s = 0.0", ["supervisor.stop_timeout_s", "0", "at least 0.1"]),
    ("[logging]\nlevel = 'loud'", ["logging.level", "'loud'", "'debug'", "'error'"]),
]
REPLACED = [
    ('run_dir = "run"', "", ["engine", "run_dir"]),
    ('run_dir = "run"', 'run_dir = ""', ["engine.run_dir", "''", "directory"]),
    ('run_dir = "run"', 'run_dir = "run"\nname = "a b"', ["engine.name", "'a b'", "letters"]),
    ('run_dir = "run"', 'run_dir = "run"\nmode = "live"', ["engine.mode", "'live'", "'paper'"]),
    ('run_dir = "run"', 'run_dir = "run"\nmode = "replay"', ["market_data.source", "'synthetic'", "needs files"]),
    ('name = "sma"', 'name = "sma"\ntrades = "no"', ["strategies[0].trades", "'no'", "bool"]),
    ('run_dir = "run"', 'run_dir = "run"\nmode = "turbo"', ["engine.mode", "'turbo'", "'paper'"]),
    ('"EURUSD"', '"EUR USD"', ["instruments[0].symbol", "'EUR USD'", "white space"]),
    ('symbol = "EURUSD"', "symbol = 5", ["instruments[0].symbol", "5", "str"]),
    ("tick_size = 0.00001", "", ["instruments[0]", "tick_size"]),
    ("tick_size = 0.00001", "tick_size = 0.0000001", ["instruments[0].tick_size", "1E-7", "0.000001"]),
    ("tick_size = 0.00001", "tick_size = 0", ["instruments[0].tick_size", "0", "above 0"]),
    ("lot_size = 1.0", "lot_size = -1.0", ["instruments[0].lot_size", "-1.0", "above 0"]),
    ("lot_size = 1.0", "lot_size = 0.000001\nmultiplier = 0.5", ["instruments[0].multiplier", "0.5", "0.000001"]),
    ("lot_size = 1.0", "lot_size = 1.0\nswap_long = 0.0000001", ["instruments[0].swap_long", "1E-7", "0.000001"]),
    ("lot_size = 1.0", "lot_size = 1.0\nswap_short = 'much'", ["instruments[0].swap_short", "'much'"]),
    ("lot_size = 1.0", 'lot_size = 1.0\nquote_currency = "JPY"', ["instruments[0].quote_currency", "'JPY'", "'USD'"]),
    ('name = "sma"', 'name = "9"', ["strategies[0].name", "'9'", "letters"]),
    ('name = "sma"', 'name = "sma"\nslice = 0', ["strategies[0].slice", "0", "1 to 65536"]),
    ('name = "sma"', 'name = "sma"\nclas = "x"', ["strategies[0]", "clas", "class"]),
    ('name = "sma"', 'name = "sma"\non_restart = "cold"', ["strategies[0].on_restart", "'cold'", "'warm'", "'parked'"]),
    (":SmaCross", ".SmaCross", ["strategies[0].class", "sma_cross.SmaCross", "module:Class"]),
    ('symbols = ["EURUSD"]', "symbols = []", ["strategies[0].symbols", "[]", "at least one"]),
    ('symbols = ["EURUSD"]', 'symbols = ["GBPUSD"]', ["strategies[0].symbols", "'GBPUSD'", "EURUSD"]),
]


@pytest.mark.parametrize(("lines", "words"), APPENDED, ids=[row[0].replace("\n", " ") for row in APPENDED])
def test_a_mistake_names_path_value_and_what_is_allowed(lines: str, words: list[str]) -> None:
    _expect_one(_mistakes(lines), words)


@pytest.mark.parametrize(("line", "instead", "words"), REPLACED, ids=[row[1] or f"no {row[0]}" for row in REPLACED])
def test_a_mistake_in_a_line_names_path_value_and_what_is_allowed(line: str, instead: str, words: list[str]) -> None:
    _expect_one(_mistakes(replace=(line, instead)), words)


def _expect_one(mistakes: list[str], words: list[str]) -> None:
    assert len(mistakes) == 1, mistakes
    assert mistakes[0].startswith("c.toml: ")
    assert [word for word in words if word not in mistakes[0]] == [], mistakes[0]


def test_times_of_the_day_and_the_triple_swap_are_read() -> None:
    config = _config("[order_routing]\nday_end = '22:30'\nswap_rollover = '00:01'\nswap_triple = 'friday'")
    routing, second = config.order_routing, 10**6
    assert (routing.day_end_us, routing.swap_rollover_us) == (81_000 * second, 60 * second)
    assert routing.swap_triple_weekday == 4
    usual = _config().order_routing
    assert (usual.day_end_us, usual.swap_rollover_us, usual.swap_triple_weekday) == (0, 79_200 * 10**6, 2)
    assert _config("[order_routing]\nswap_triple = 'none'").order_routing.swap_triple_weekday is None


TWICE = [
    ("[[instruments]]\nsymbol = 'EURUSD'\ntick_size = 1\nlot_size = 1", "instruments[1].symbol = 'EURUSD'"),
    ("[[strategies]]\nname = 'sma'\nclass = 'a:B'\nsymbols = ['EURUSD']", "strategies[1].name = 'sma'"),
]


@pytest.mark.parametrize(("lines", "place"), TWICE)
def test_what_is_named_twice_is_a_mistake(lines: str, place: str) -> None:
    assert _mistakes(lines) == [f"c.toml: {place}: named twice"]


def test_every_mistake_is_told_at_once() -> None:
    sections = "[account]\nleverage = 0\n[risk]\nmax_drawdown = 5"
    mistakes = _mistakes(sections, replace=("tick_size = 0.00001", "tick_size = 0"))
    assert [mistake.split(" = ")[0] for mistake in mistakes] == [
        "c.toml: account.leverage", "c.toml: instruments[0].tick_size", "c.toml: risk.max_drawdown",
    ]  # fmt: skip


def test_wrong_types_in_several_sections_are_told_at_once() -> None:
    mistakes = _mistakes("[account]\nleverage = 'x'\n[wal]\nsync = 3\n[nonsense]\n")
    places = ("account.leverage = 'x'", "wal.sync = 3", "nonsense")
    assert [one.startswith(f"c.toml: {place}: ") for one, place in zip(mistakes, places, strict=True)] == [True] * 3


def test_no_instrument_at_all_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match=r"instruments: at least one \[\[instruments\]\]"):
        parse_config("instruments = []\n[engine]\nrun_dir = 'run'")
    with pytest.raises(ConfigError, match="instruments"):
        parse_config("[engine]\nrun_dir = 'run'")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        (b"\xff\xfe", "UTF-8"),
        (b"[engine", "Expected ']'"),
        (b"[engine]\na = = 1", "line 2"),
        (b"", "engine"),
        (b"engine = 5", "engine"),
    ],
)
def test_a_file_that_is_no_config_says_which_and_why(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "broken.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)


def test_numbers_of_the_config_are_exact_decimals_and_params_are_floats() -> None:
    config = _config("[risk]\nmax_drawdown = -500.1")
    assert config.risk.max_drawdown == Decimal("-500.1")
    assert config.instruments[0].tick_micros == 10
    params: dict[str, Any] = config.strategies[0].params
    assert params == {"fast": 20, "quantity": 100.5, "nested": {"levels": [0.5, 1]}}
    assert isinstance(params["quantity"], float)
    assert isinstance(params["nested"]["levels"][0], float)


def test_a_child_reads_the_config_that_it_is_handed() -> None:
    config = _config("[market_data]\nspeed = 2.5\nbars = [1, 5]\n[risk]\nmax_drawdown = -0.000001")
    assert decode_config(encode_config(config)) == config


def test_the_demo_config_is_right() -> None:
    assert load_config(Path(__file__).parents[2] / "deploy" / "configs" / "demo.toml").engine.name == "demo"


@pytest.mark.parametrize(
    ("extra", "replace", "same"),
    [
        ("", ('run_dir = "run"', 'run_dir = "elsewhere"'), True),
        ("[gateway]\ncommand = ''", ("", ""), True),
        ("[supervisor]\nrestarts = 3", ("", ""), True),
        ("[logging]\nlevel = 'debug'", ("", ""), True),
        ("[risk]\nmax_drawdown = -1", ("", ""), False),
        ("[market_data]\nseed = 2", ("", ""), False),
        ("", ("fast = 20", "fast = 21"), False),
        ("", ("lot_size = 1.0", "lot_size = 2.0"), False),
    ],
)
def test_the_config_hash_covers_what_decides_about_trading(extra: str, replace: tuple[str, str], same: bool) -> None:
    assert (config_hash(_config(extra, replace=replace)) == config_hash(_config())) is same
    assert len(config_hash(_config())) == 16


@pytest.mark.parametrize("written", ["2024-01-31T09:30:00Z", "'2024-01-31 10:30:00+01:00'", "2024-01-31T09:30:00"])
def test_a_range_of_time_is_text_or_a_time_of_toml_and_utc_if_it_is_naive(written: str) -> None:
    lines = f"[market_data]\nsource = 'csv'\npath = 'a'\nstart = {written}\nend = 2024-02-01"
    assert _config(lines).market_data.time_range == (1_706_693_400_000_000, 1_706_745_600_000_000)
