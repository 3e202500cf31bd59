"""What is wrong with a config although every key has the right type: each mistake with path, value and what is right.

Pure; settings.py asks it of every config that is read. What only a child can check (an import, a file's rows, a port)
is the child's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from protocol.conversion import find_converter, quote_currency
from protocol.limits import check_all_limits, check_exact
from protocol.pipeline import CONTROL
from protocol.section import TIME_PATTERN
from protocol.units import MICROS, iso_to_us

if TYPE_CHECKING:
    from protocol.settings import Config, GatewaySettings, InstrumentSettings, MarketDataSettings

NAME_PATTERN: Final = r"^[A-Za-z][A-Za-z0-9_-]{0,31}$"
SYMBOL_PATTERN: Final = r"^\S{1,32}$"
CURRENCY_PATTERN: Final = r"^[A-Z]{3,8}$"
BARS_MAX_MINUTES: Final = 1440
PORT_MAX: Final = 65_535
QUANTUM_MAX: Final = 262_144
"""Ticks: so many, and more, every consumer of the market holds (P12), a strategy in plain Python at 150 bytes each."""
DEADLINE_MIN_S: Final = 0.1
DEADLINE_MAX_S: Final = 86_400
MEMORY_MIN_MB: Final = 64
FILES_MIN: Final = 64
"""With less no process of an engine begins."""
COUNT_MAX: Final = 10**9
"""Of ticks and microseconds: far more than anybody means, and small enough for sums in 64 bits."""


class Found(msgspec.Struct, frozen=True):
    """What a child's check finds, as JSON on its standard output."""

    mistakes: list[str]
    """The engine does not start with them."""
    warnings: list[str]


def check_config(config: Config) -> list[str]:
    """Every mistake that types alone do not show, each with path, value and what is allowed."""
    return [
        *_check_engine(config),
        *_check_instruments(config),
        *_check_market_data(config),
        *_check_strategies(config),
        *_check_limits(config),
        *_check_process_limits(config),
        *_check_paper_venue(config),
        *_check_external_venue(config),
        *_check_endpoints(config),
        *_check_replay(config),
    ]


def _check_replay(config: Config) -> list[str]:
    lossless = "gateway.broadcast_lossless = true"
    if not config.is_replay:
        mistake = f"{lossless}: in a replay only; engine.mode = {config.engine.mode!r} waits for no subscriber"
        return [mistake] if config.gateway.broadcast_lossless else []
    mistakes = []
    if not config.market_data.is_file:
        mistakes.append(f"market_data.source = {config.market_data.source!r}: a replay needs files")
    if config.market_data.speed != "max":
        mistakes.append(f"market_data.speed = {config.market_data.speed}: a replay goes as fast as it can ('max')")
    if not 1 <= config.replay.quantum <= QUANTUM_MAX:
        mistakes.append(f"replay.quantum = {config.replay.quantum}: 1 to {QUANTUM_MAX} ticks")
    if config.replay.checkpoint_ticks < 0:
        mistakes.append(f"replay.checkpoint_ticks = {config.replay.checkpoint_ticks}: ticks, or 0 for no checkpoints")
    if config.gateway.broadcast_lossless and not config.gateway.broadcast:
        mistakes.append(f"{lossless}: gateway.broadcast = '' is off, and nobody could subscribe")
    if not config.strategies:
        mistakes.append("strategies: a replay without [[strategies]] does nothing")
    return mistakes


def _check_engine(config: Config) -> list[str]:
    mistakes = []
    if not re.match(NAME_PATTERN, config.engine.name):
        mistakes.append(f"engine.name = {config.engine.name!r}: letters, digits, - and _, 32 at most")
    if not config.engine.run_dir:
        mistakes.append("engine.run_dir = '': the directory for journal, pages and sockets")
    if config.engine.mode == "live":
        mistakes.append("engine.mode = 'live': this version runs 'paper' and 'replay'; 'live' comes later")
    if not 1 <= config.account.leverage <= 10_000:
        mistakes.append(f"account.leverage = {config.account.leverage}: 1 to 10000")
    if not re.match(CURRENCY_PATTERN, config.account.currency):
        mistakes.append(f"account.currency = {config.account.currency!r}: a code such as USD")
    return mistakes + check_exact("account.balance", config.account.balance)


def _check_instruments(config: Config) -> list[str]:
    mistakes = [] if config.instruments else ["instruments: at least one [[instruments]] is needed"]
    seen: set[str] = set()
    for index, instrument in enumerate(config.instruments):
        path = f"instruments[{index}]"
        if not re.match(SYMBOL_PATTERN, instrument.symbol):
            mistakes.append(f"{path}.symbol = {instrument.symbol!r}: 1 to 32 characters without white space")
        if instrument.symbol in seen:
            mistakes.append(f"{path}.symbol = {instrument.symbol!r}: named twice")
        seen.add(instrument.symbol)
        inexact = [
            *check_exact(f"{path}.tick_size", instrument.tick_size, positive=True),
            *check_exact(f"{path}.lot_size", instrument.lot_size, positive=True),
            *check_exact(f"{path}.multiplier", instrument.multiplier, positive=True),
            *check_exact(f"{path}.swap_long", instrument.swap_long),
            *check_exact(f"{path}.swap_short", instrument.swap_short),
        ]
        mistakes += inexact
        if not inexact and instrument.lot_micros * instrument.multiplier_micros % MICROS:
            mistakes.append(
                f"{path}.multiplier = {instrument.multiplier}: lot_size x multiplier has digits beyond 0.000001"
            )
        mistakes += _check_currencies(config, path, instrument)
    return mistakes


def _check_currencies(config: Config, path: str, instrument: InstrumentSettings) -> list[str]:
    """Codes, and that profit in the instrument can become the account's money."""
    account, base, quote = config.account.currency, instrument.base_currency, quote_currency(config, instrument)
    mistakes = [
        f"{path}.{key} = {code!r}: a code such as USD"
        for key, code in (("base_currency", base), ("quote_currency", instrument.quote_currency))
        if code is not None and not re.match(CURRENCY_PATTERN, code)
    ]
    if mistakes:
        return mistakes
    if base == quote:
        return [f"{path}.base_currency = {base!r}: is its quote_currency too; of EURUSD the base is EUR, the quote USD"]
    if quote != account and find_converter(config, quote, instrument.symbol) is None:
        return [
            f"{path}.quote_currency = {quote!r}: nothing converts it into {account!r} (the account's currency): that "
            f"takes an [[instruments]] with base_currency = {quote!r} and quote_currency = {account!r}, or with "
            f"base_currency = {account!r} and quote_currency = {quote!r}; it may be this one"
        ]
    return []


def _check_market_data(config: Config) -> list[str]:
    market, mistakes = config.market_data, _check_files(config.market_data)
    if market.is_file:
        known = {instrument.symbol for instrument in config.instruments}
        for file in market.all_files:
            if file.symbol is not None and file.symbol not in known:
                mistakes.append(
                    f"market_data: symbol {file.symbol!r} of {file.path} is no [[instruments]]; known are "
                    f"{', '.join(sorted(known))}"
                )
    if not 0 < market.rate <= 1_000_000:
        mistakes.append(f"market_data.rate = {market.rate}: above 0, up to 1000000 ticks a second")
    if not 0 <= market.volatility < 0.1:
        mistakes.append(f"market_data.volatility = {market.volatility}: 0 up to 0.1")
    if market.speed != "max" and not 0 < market.speed <= 1e9:
        mistakes.append(f"market_data.speed = {market.speed}: \"max\" or a factor above 0")
    if market.utc_offset_hours is not None and not -24 <= market.utc_offset_hours <= 24:
        mistakes.append(f"market_data.utc_offset_hours = {market.utc_offset_hours}: -24 to 24")
    for minutes in market.bars:
        if not 1 <= minutes <= BARS_MAX_MINUTES:
            mistakes.append(f"market_data.bars: {minutes} is no timeframe; 1 to {BARS_MAX_MINUTES} minutes")
    if len(set(market.bars)) != len(market.bars):
        mistakes.append(f"market_data.bars = {market.bars}: a timeframe is named twice")
    return mistakes


def _check_files(market: MarketDataSettings) -> list[str]:
    """The keys that say which rows are read, and how."""
    mistakes = []
    if market.is_file and bool(market.path) == bool(market.files):
        mistakes.append(
            f"market_data: a {market.source} source needs `path`, or `files = [{{ path, symbol }}, ...]`, not both"
        )
    if market.source == "parquet" and market.format == "histdata":
        mistakes.append("market_data.format = 'histdata': a parquet source reads 'bid_ask', 'trades' and 'ohlc'")
    if market.source != "parquet":
        given = [key for key in ("time_unit", "integer_prices") if getattr(market, key) is not None]
        mistakes += [f"market_data.{key} = {getattr(market, key)!r}: for a parquet source only" for key in given]
    return mistakes + _check_time_range(market)


def _check_time_range(market: MarketDataSettings) -> list[str]:
    mistakes, times_us = [], []
    for key, text in (("start", market.start), ("end", market.end)):
        if text is None:
            continue
        if not market.is_file:
            mistakes.append(f"market_data.{key} = {text!r}: for sources that read files; {market.source!r} reads none")
        try:
            times_us.append(iso_to_us(text))
        except ValueError:
            mistakes.append(f"market_data.{key} = {text!r}: an ISO time or date, such as 2024-01-31T09:30:00Z")
    if len(times_us) == 2 and times_us[0] >= times_us[1]:
        mistakes.append(f"market_data.end = {market.end!r}: must be later than start ({market.start})")
    return mistakes


def _check_strategies(config: Config) -> list[str]:
    mistakes: list[str] = []
    known = {instrument.symbol for instrument in config.instruments}
    seen: set[str] = set()
    for index, strategy in enumerate(config.strategies):
        path = f"strategies[{index}]"
        if not re.match(NAME_PATTERN, strategy.name):
            mistakes.append(f"{path}.name = {strategy.name!r}: letters, digits, - and _, 32 at most")
        if strategy.name in seen:
            mistakes.append(f"{path}.name = {strategy.name!r}: named twice")
        seen.add(strategy.name)
        if not re.match(r"^[\w.]+:\w+$", strategy.class_path):
            mistakes.append(f"{path}.class = {strategy.class_path!r}: written module:Class")
        for symbol in strategy.symbols:
            if symbol not in known:
                mistakes.append(
                    f"{path}.symbols: {symbol!r} is no [[instruments]]; known are {', '.join(sorted(known))}"
                )
        if not strategy.symbols:
            mistakes.append(f"{path}.symbols = []: at least one symbol")
        if not 1 <= strategy.slice <= 65_536:
            mistakes.append(f"{path}.slice = {strategy.slice}: 1 to 65536 ticks")
    return mistakes


def _check_limits(config: Config) -> list[str]:
    risk, supervisor = config.risk, config.supervisor
    mistakes = [
        *check_all_limits(config),
        *check_exact("risk.min_free_margin", risk.min_free_margin),
        *check_exact("risk.max_drawdown", risk.max_drawdown),
    ]
    if risk.max_drawdown is not None and risk.max_drawdown >= 0:
        mistakes.append(f"risk.max_drawdown = {risk.max_drawdown}: a loss, so below 0")
    for path, value, least in (
        ("risk.max_signal_age_ms", risk.max_signal_age_ms, 1),
        ("wal.interval_ms", config.wal.interval_ms, 1),
        ("wal.reserve_mb", config.wal.reserve_mb, 0),
        ("wal.checkpoint_records", config.wal.checkpoint_records, 0),
        ("wal.checkpoint_mb", config.wal.checkpoint_mb, 0),
        ("gateway.account_interval_ms", config.gateway.account_interval_ms, 10),
        ("supervisor.restarts", supervisor.restarts, 0),
        ("supervisor.window_s", supervisor.window_s, 0.1),
        ("supervisor.ready_timeout_s", supervisor.ready_timeout_s, 0.1),
        ("supervisor.stop_timeout_s", supervisor.stop_timeout_s, 0.1),
    ):
        if not least <= value < COUNT_MAX:
            mistakes.append(f"{path} = {value}: at least {least}")
    for key, value in supervisor.deadlines.as_dict().items():
        if value and not DEADLINE_MIN_S <= value <= DEADLINE_MAX_S:
            allowed = f"{DEADLINE_MIN_S} to {DEADLINE_MAX_S} seconds, or 0 for none"
            mistakes.append(f"supervisor.deadlines.{key} = {value}: {allowed}")
    try:
        config.wal.keep_rule  # noqa: B018
    except ValueError:
        mistakes.append(f'wal.keep = {config.wal.keep!r}: "all", a number of files, or an age in d, h or m: "30d"')
    return mistakes


def _check_process_limits(config: Config) -> list[str]:
    known = {*CONTROL.connects, *(f"strategy.{strategy.name}" for strategy in config.strategies)}
    mistakes = []
    for name, limits in config.supervisor.limits.items():
        path = f"supervisor.limits.{name}"
        if name not in known:
            mistakes.append(f"{path}: no process of this engine; there are {', '.join(sorted(known))}")
        for key, value, least in (("memory_mb", limits.memory_mb, MEMORY_MIN_MB), ("files", limits.files, FILES_MIN)):
            if value and value < least:
                mistakes.append(f"{path}.{key} = {value}: at least {least}, or 0 for no limit")
        if any(cpu < 0 for cpu in limits.cpus):
            mistakes.append(f"{path}.cpus = {limits.cpus}: numbers of processors, from 0")
    return mistakes


def _check_paper_venue(config: Config) -> list[str]:
    routing, mistakes = config.order_routing, []
    for key in ("commission_per_lot", "commission_rate", "commission_minimum"):
        value = getattr(routing, key)
        mistakes += check_exact(f"order_routing.{key}", value)
        if value < 0:
            mistakes.append(f"order_routing.{key} = {value}: 0 or more")
    for key, least in (("latency_us", 0), ("slippage_ticks", 0), ("trail_step_ticks", 1)):
        number = getattr(routing, key)
        if not least <= number <= COUNT_MAX:
            mistakes.append(f"order_routing.{key} = {number}: {least} to {COUNT_MAX}")
    for key in ("day_end", "swap_rollover"):
        if not re.fullmatch(TIME_PATTERN, getattr(routing, key)):
            mistakes.append(f'order_routing.{key} = {getattr(routing, key)!r}: a time of the UTC day such as "22:00"')
    return mistakes + _check_participation(config)


def _check_external_venue(config: Config) -> list[str]:
    routing = config.order_routing
    mistakes = []
    if routing.is_external:
        path = f"order_routing.venue = {routing.venue!r}"
        if config.is_replay:
            mistakes.append(f"{path}: a replay has the venue inside ('paper'), so that it is exact")
        if not config.wal.enabled or config.wal.sync != "always":  # V4
            mistakes.append(f"{path}: needs wal.enabled = true and wal.sync = 'always': after a power loss an order id "
                            "that the venue knows would be given to another order")  # fmt: skip
    for key, least, most in (("in_doubt_grace_s", 0, 3600), ("reconcile_timeout_s", 0, 3600)):
        if not least <= getattr(routing, key) <= most:
            mistakes.append(f"order_routing.{key} = {getattr(routing, key)}: {least} to {most} seconds")
    for key, most in (("drop", 1), ("duplicate", 1), ("reorder", 1), ("delay_ms", 60_000), ("cut_every_s", 86_400),
                      ("cut_s", 3_600)):  # fmt: skip
        if not 0 <= getattr(routing.line, key) <= most:
            mistakes.append(f"order_routing.line.{key} = {getattr(routing.line, key)}: 0 to {most}")
    return mistakes


def _check_participation(config: Config) -> list[str]:
    """A share of the volume needs a feed that has volumes; what only the rows show, market_data looks at."""
    share, market = config.order_routing.max_participation, config.market_data
    if share is None:
        return []
    path = f"order_routing.max_participation = {share}"
    if not 0 < share <= 1:
        return [f"{path}: above 0, up to 1"]
    mistakes = check_exact("order_routing.max_participation", share)
    if not market.is_file:
        mistakes.append(f"{path}: market_data.source = {market.source!r} has no volumes")
    elif market.source == "csv" and market.format == "bid_ask":
        mistakes.append(f"{path}: market_data.format = 'bid_ask' has no volumes")
    return mistakes


_LOOPBACK: Final = re.compile(r"^tcp://(127(\.\d{1,3}){3}|localhost|\[::1\]):(\d{1,5}|\*)$")
_TCP: Final = re.compile(r"^tcp://[^:\s]+:(\d{1,5}|\*)$|^tcp://\[[0-9a-fA-F:]+\]:(\d{1,5}|\*)$")


def _check_endpoints(config: Config) -> list[str]:
    """"" turns a socket off."""
    mistakes: list[str] = []
    seen: dict[str, str] = {}
    for path, endpoint in _outer_endpoints(config.gateway):
        if endpoint in seen and not endpoint.endswith(":*"):
            mistakes.append(f"{path} = {endpoint!r}: is {seen[endpoint]}'s endpoint already")
        seen[endpoint] = path
        port = endpoint.rpartition(":")[2]
        is_tcp = _TCP.match(endpoint) and not (port.isdigit() and not 0 < int(port) <= PORT_MAX)
        if not is_tcp and not endpoint.startswith("ipc://"):
            mistakes.append(f"{path} = {endpoint!r}: tcp://ADDRESS:PORT, ipc://PATH, or \"\" for off")
    if config.gateway.curve is not None and not config.gateway.curve.keys:
        mistakes.append("gateway.curve.keys = '': the directory of the keys, made by `seawall keys init`")
    if not config.gateway.allow_plaintext_bind:
        mistakes += [
            f"{path} = {endpoint!r}: binds beyond loopback in plain text; set gateway.curve.keys (`seawall keys`), or "
            "gateway.allow_plaintext_bind = true if that is meant"
            for path, endpoint in plaintext_binds(config)
        ]
    return mistakes


def plaintext_binds(config: Config) -> list[tuple[str, str]]:
    """The sockets, by key and endpoint, that anybody beyond this machine may read and write in plain text."""
    if config.gateway.curve is not None:
        return []
    return [
        (path, endpoint) for path, endpoint in _outer_endpoints(config.gateway)
        if _TCP.match(endpoint) and not _LOOPBACK.match(endpoint)
    ]  # fmt: skip


def _outer_endpoints(gateway: GatewaySettings) -> list[tuple[str, str]]:
    """Those that are on, by key."""
    keys = ("command", "telemetry", "broadcast")
    return [(f"gateway.{key}", getattr(gateway, key)) for key in keys if getattr(gateway, key)]
