"""The config: its shape, its defaults, and every check that needs no process.

One declaration gives the TOML reader, the JSON that children are handed, and the messages: every mistake
names its path, its value and what is allowed. What only a child can check (an import, a file's rows, a port)
is checked when it loads, before anything starts.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, get_args, get_origin

import msgspec

from protocol.config_checks import check_config
from protocol.curve_settings import CurveSettings
from protocol.errors import ConfigError
from protocol.limits import LimitSettings
from protocol.section import WEEKDAYS, Section, time_of_day_us
from protocol.units import decimal_to_micros, iso_to_us


class EngineSettings(Section, frozen=True, kw_only=True):
    name: str = "seawall"
    mode: Literal["paper", "live", "replay"] = "paper"
    run_dir: str


class AccountSettings(Section, frozen=True, kw_only=True):
    balance: Decimal = Decimal(10_000)
    currency: str = "USD"
    leverage: int = 100


class InstrumentSettings(Section, frozen=True, kw_only=True):
    symbol: str
    tick_size: Decimal
    lot_size: Decimal
    base_currency: str | None = None
    """What one unit of it is, where that is a currency: EUR of EURUSD. Needed only of what converts another's money."""
    quote_currency: str | None = None
    """Of its prices; None: the account's."""
    multiplier: Decimal = Decimal(1)
    swap_long: Decimal = Decimal(0)
    """paper: account currency that a long position gets per lot and night (a cost is negative) …"""
    swap_short: Decimal = Decimal(0)
    """… and a short one."""

    @property
    def tick_micros(self) -> int:
        return decimal_to_micros(self.tick_size)

    @property
    def lot_micros(self) -> int:
        return decimal_to_micros(self.lot_size)

    @property
    def multiplier_micros(self) -> int:
        return decimal_to_micros(self.multiplier)


class FileSettings(Section, frozen=True, kw_only=True):
    path: str
    symbol: str | None = None
    """May be left out only where the file names its symbols (CSV: format "trades"; Parquet: a column `symbol`)."""


class TimeRange(NamedTuple):
    """Microseconds since the epoch."""

    start_us: int
    end_us: int
    """Not included."""


WHOLE_RANGE: Final = TimeRange(-(2**63), 2**63 - 1)


class MarketDataSettings(Section, frozen=True, kw_only=True):
    source: Literal["synthetic", "csv", "parquet"] = "synthetic"
    seed: int = 1
    rate: float = 100.0
    """synthetic: ticks a second, all symbols together."""
    volatility: float = 0.0001
    """synthetic: standard deviation of one tick's return."""
    path: str | None = None
    symbol: str | None = None
    files: list[FileSettings] = []
    format: Literal["auto", "bid_ask", "histdata", "trades", "ohlc"] = "auto"
    speed: Literal["max"] | float = "max"
    utc_offset_hours: float | None = None
    """Of naive times; default 0, for histdata -5."""
    start: str | None = None
    """Files: rows from this ISO time or date on …"""
    end: str | None = None
    """… up to this one, not included. UTC if naive."""
    time_unit: Literal["s", "ms", "us", "ns"] | None = None
    """parquet: of a time column of integers whose name does not end in its unit (`timestamp_ms` does)."""
    integer_prices: Literal["units", "micros", "nanos"] | None = None
    """parquet: what one of a price column of integers is worth: 1, 1e-6 or 1e-9."""
    ohlc_path: Literal["by_close", "high_first", "low_first"] = "by_close"
    """ohlc: in which order a bar is taken to have met its high and its low."""
    on_bad_row: Literal["error", "skip"] = "error"
    bars: list[int] = []
    """Timeframes in minutes."""

    @property
    def is_file(self) -> bool:
        return self.source != "synthetic"

    @property
    def time_range(self) -> TimeRange:
        """Raises: ValueError if `start` or `end` is no ISO time."""
        start, end = self.start, self.end
        return TimeRange(
            WHOLE_RANGE.start_us if start is None else iso_to_us(start),
            WHOLE_RANGE.end_us if end is None else iso_to_us(end),
        )

    @property
    def all_files(self) -> list[FileSettings]:
        """`path` and `symbol`, or `files`."""
        return [FileSettings(path=self.path, symbol=self.symbol)] if self.path else self.files


class StrategySettings(Section, rename={"class_path": "class"}, frozen=True, kw_only=True):
    name: str
    class_path: str
    symbols: list[str]
    params: dict[str, Any] = {}
    slice: int = 1024
    """on_ticks gets slices of at most this many ticks."""
    on_restart: Literal["warm", "parked"] = "warm"
    trades: bool = True
    """false: it only looks on. What it asks for is refused, and in a replay nobody waits for it (P13)."""
    limits: LimitSettings = LimitSettings()
    """Of this strategy's own orders and positions, beside those of [risk]."""


class RiskSettings(LimitSettings, frozen=True, kw_only=True):
    """The limits of the engine, and what there is of only one."""

    min_free_margin: Decimal | None = None
    """What equity must leave above the margin of the positions and open orders, at account.leverage."""
    max_drawdown: Decimal | None = None
    """Realized profit of a symbol, a negative number; at or below it trading halts."""
    max_signal_age_ms: int = 1000
    on_halt: Literal["cancel", "hold", "flatten"] = "cancel"
    """cancel: open orders, but those that protect a position; flatten: those, and every position is closed."""


class LineSettings(Section, frozen=True, kw_only=True):
    """simulated: how bad the line is on which the venue answers. Shares are of its messages, 0 to 1."""

    seed: int = 0
    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    delay_ms: float = 0.0
    """Each message is late by up to so much."""
    cut_every_s: float = 0.0
    """On average; 0: never."""
    cut_s: float = 2.0
    """For how long nothing comes through."""


class OrderRoutingSettings(Section, frozen=True, kw_only=True):
    venue: Literal["paper", "simulated"] = "paper"
    reconcile: Literal["adopt", "halt"] = "adopt"
    """simulated: what follows where the venue's books and the journal differ."""
    in_doubt_grace_s: float = 5.0
    """simulated: so long an order may be unknown at the venue before it is taken for never sent."""
    reconcile_timeout_s: float = 10.0
    """simulated: a start waits so long for the venue, and is then READY without new orders."""
    line: LineSettings = LineSettings()
    latency_us: int = 0
    """paper, simulated: of the data's time, from an order's sending to its arrival."""
    commission_per_lot: Decimal = Decimal(0)
    commission_rate: Decimal = Decimal(0)
    """Of the value traded: 0.0002 is two basis points."""
    commission_minimum: Decimal = Decimal(0)
    commission_minimum_per: Literal["order", "fill"] = "order"
    slippage_ticks: int = 0
    """paper, simulated: by which market and stop orders fill worse than the quote."""
    max_participation: Decimal | None = None
    """paper, simulated: the share of each tick's volume that orders may take; None: size is not modelled."""
    day_end: str = "00:00"
    """paper, simulated: when DAY orders end, UTC."""
    swap_rollover: str = "22:00"
    """paper, simulated: from when on a position has been held one night more, UTC."""
    swap_triple: Literal["monday", "tuesday", "wednesday", "thursday", "friday", "none"] = "wednesday"
    """The rollover that counts three nights, so that the weekend's count none; none: each day's counts one."""
    trail_step_ticks: int = 1
    """paper, simulated: a trailing stop moves when it can move so far; each move is a record."""
    on_stop: Literal["keep", "cancel"] = "keep"

    @property
    def is_external(self) -> bool:
        """The venue stands outside order_routing, and has books of its own."""
        return self.venue != "paper"

    @property
    def day_end_us(self) -> int:
        return time_of_day_us(self.day_end)

    @property
    def swap_rollover_us(self) -> int:
        return time_of_day_us(self.swap_rollover)

    @property
    def swap_triple_weekday(self) -> int | None:
        """Monday is 0."""
        return None if self.swap_triple == "none" else WEEKDAYS.index(self.swap_triple)


_AGE_UNITS_S: Final = {"m": 60, "h": 3_600, "d": 86_400}


class Keep(NamedTuple):
    """How many sealed files are kept, and for how long; None: no such limit."""

    files_max: int | None
    age_max_s: int | None


class ReplaySettings(Section, frozen=True, kw_only=True):
    """engine.mode = "replay" (design section 5)."""

    quantum: int = 65_536
    """Ticks; what crosses from one strategy to another is seen at its end, and the journal is synced there."""
    checkpoint_ticks: int = 1_048_576
    """A CHECKPOINT at the first quantum's end behind each so many ticks, where `run --resume` goes on. 0: none."""


class WalSettings(Section, frozen=True, kw_only=True):
    enabled: bool = True
    sync: Literal["always", "interval", "off"] = "always"
    interval_ms: int = 100
    """sync = "interval": at most this long between a write and its sync."""
    reserve_mb: int = 16
    """Kept on the journal's disk for cancels and fills; with less than as much again free, new orders are refused.
    0: no reserve and no alarm."""
    checkpoint_records: int = 20_000
    """A CHECKPOINT, and a new file, after so many records … 0: never by count."""
    checkpoint_mb: int = 64
    """… or when the file is this large. 0: never by size."""
    keep: int | str = "all"
    """Sealed files kept: so many, those sealed within "30d", "12h" or "90m", or "all"."""

    @property
    def keep_rule(self) -> Keep:
        """Raises: ValueError if `keep` is none of what it may be."""
        if self.keep == "all":
            return Keep(None, None)
        if isinstance(self.keep, int) and self.keep >= 0:
            return Keep(self.keep, None)
        age = re.fullmatch(r"([1-9]\d{0,5})([dhm])", self.keep) if isinstance(self.keep, str) else None
        if age is None:
            raise ValueError(self.keep)
        return Keep(None, int(age[1]) * _AGE_UNITS_S[age[2]])


class GatewaySettings(Section, frozen=True, kw_only=True):
    command: str = "tcp://127.0.0.1:5556"
    telemetry: str = "tcp://127.0.0.1:5557"
    broadcast: str = "tcp://127.0.0.1:5555"
    account_interval_ms: int = 1000
    allow_plaintext_bind: bool = False
    broadcast_lossless: bool = False
    """replay: the market waits for the subscribers of the broadcast, and none loses a message."""
    curve: CurveSettings | None = None
    """None: plain text."""


class DeadlineSettings(Section, frozen=True, kw_only=True):
    """By activity: a child that gets nowhere for so many seconds hangs. 0: no deadline."""

    idle: float = 5.0
    """It waits for messages; its loop turns 20 times a second all the same."""
    working: float = 10.0
    """One turn of its loop."""
    syncing: float = 5.0
    """wal alone, a write or a sync: trading is halted, and it is not killed."""
    venue_call: float = 5.0
    hook: float = 10.0
    """One hook of a strategy."""

    def as_dict(self) -> dict[str, float]:
        return msgspec.structs.asdict(self)


class ProcessLimits(Section, frozen=True, kw_only=True):
    """What a child may take. 0, or an empty list: as much as there is."""

    memory_mb: int = 0
    """Of memory of its own (RLIMIT_DATA, mapped or not yet touched); what is beyond is refused to it, and it fails."""
    files: int = 0
    """Open descriptors."""
    cpus: list[int] = []
    """It runs on these alone."""


GATEWAY_MEMORY_MB: Final = 1024
"""Where the config says nothing. It takes 35 MB by itself, and up to 7 MB for each subscriber of a lossless broadcast
that is behind."""


class SupervisorSettings(Section, frozen=True, kw_only=True):
    restarts: int = 10
    window_s: float = 60.0
    ready_timeout_s: float = 30.0
    stop_timeout_s: float = 10.0
    deadlines: DeadlineSettings = DeadlineSettings()
    limits: dict[str, ProcessLimits] = {}
    """By child (`risk`, `strategy.sma`); `strategy` is every strategy that has none of its own."""

    def limits_of(self, name: str) -> ProcessLimits:
        limits = self.limits.get(name) or self.limits.get(name.partition(".")[0], ProcessLimits())
        if name == "gateway" and not limits.memory_mb:  # outsiders decide how much it takes
            return msgspec.structs.replace(limits, memory_mb=GATEWAY_MEMORY_MB)
        return limits


class LoggingSettings(Section, frozen=True, kw_only=True):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class Config(Section, frozen=True, kw_only=True):
    engine: EngineSettings
    account: AccountSettings = AccountSettings()
    instruments: list[InstrumentSettings]
    market_data: MarketDataSettings = MarketDataSettings()
    strategies: list[StrategySettings] = []
    risk: RiskSettings = RiskSettings()
    order_routing: OrderRoutingSettings = OrderRoutingSettings()
    replay: ReplaySettings = ReplaySettings()
    wal: WalSettings = WalSettings()
    gateway: GatewaySettings = GatewaySettings()
    supervisor: SupervisorSettings = SupervisorSettings()
    logging: LoggingSettings = LoggingSettings()

    @property
    def run_dir(self) -> Path:
        return Path(self.engine.run_dir)

    @property
    def is_replay(self) -> bool:
        return self.engine.mode == "replay"

    @property
    def journal_sync(self) -> str:
        """A replay syncs at quantum ends, whatever `wal.sync` says."""
        return "interval" if self.is_replay else self.wal.sync

    @property
    def traders(self) -> list[StrategySettings]:
        return [strategy for strategy in self.strategies if strategy.trades]


_HASH_LEAVES_OUT: Final = ("wal", "gateway", "supervisor", "logging")


def config_hash(config: Config) -> bytes:
    """16 bytes over what decides about trading; run_dir, endpoints, limits and logging are left out."""
    tree = msgspec.to_builtins(config)
    for section in _HASH_LEAVES_OUT:
        tree.pop(section)
    tree["engine"].pop("run_dir")
    canonical = msgspec.json.encode(tree, order="sorted")
    return hashlib.blake2b(canonical, digest_size=16).digest()


def load_config(path: str | Path) -> Config:
    """The config in a TOML file, checked whole. Raises: ConfigError with every mistake found."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise ConfigError([f"{path}: {reason}"]) from error
    return parse_config(text, str(path))


def parse_config(text: str, name: str = "config") -> Config:
    try:
        tree = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{name}: {error}"]) from error
    mistakes: list[str] = []
    for strategy in tree.get("strategies", []) if isinstance(tree.get("strategies"), list) else []:
        if isinstance(strategy, dict) and "params" in strategy:
            strategy["params"] = _floats(strategy["params"])
    if isinstance(market := tree.get("market_data"), dict):
        for key in ("start", "end"):
            if isinstance(market.get(key), date):  # TOML has times and dates of its own; a datetime is a date, too
                market[key] = market[key].isoformat()
    config = _convert(tree, mistakes)
    if config is not None:
        mistakes += check_config(config)
    if mistakes or config is None:
        raise ConfigError([f"{name}: {mistake}" for mistake in mistakes])
    return config


def _floats(value: Any) -> Any:
    """A strategy's author gets floats, not decimals."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dict):
        return {key: _floats(item) for key, item in value.items()}
    return [_floats(item) for item in value] if isinstance(value, list) else value


def encode_config(config: Config) -> bytes:
    """JSON, as children are handed it."""
    return msgspec.json.encode(config)


def decode_config(data: bytes) -> Config:
    """The inverse of encode_config. Raises: msgspec.MsgspecError, or UnicodeDecodeError, for what it never gave."""
    return msgspec.json.decode(data, type=Config)


def _convert(tree: dict[str, Any], mistakes: list[str]) -> Config | None:
    """The typed config, or None and the mistakes: one for each section that cannot be read."""
    try:
        return msgspec.convert(tree, Config)
    except msgspec.ValidationError as error:
        whole = _explain(tree, Config, error, "")
    known = {field.encode_name: field.type for field in msgspec.structs.fields(Config)}
    for key, value in tree.items():
        if key not in known:
            mistakes.append(f"{key}: unknown section; known are {', '.join(sorted(known))}")
            continue
        try:
            msgspec.convert(value, known[key])
        except msgspec.ValidationError as error:
            mistakes.append(_explain(value, known[key], error, key))
    if not mistakes:
        mistakes.append(whole)
    return None


def _explain(value: Any, kind: Any, error: msgspec.ValidationError, prefix: str) -> str:
    """`path = value: reason`, with what is allowed where the error itself does not say it."""
    text, _, where = str(error).partition(" - at `$")
    where = where.rstrip("`")
    for step in re.findall(r"\.([\w-]+)|\[(\d+)\]", where):
        key, index = step
        value = value[int(index)] if index else value.get(key) if isinstance(value, dict) else value
        kind = _step_type(kind, key)
    text = text.replace("got `decimal`", "got a number with a fraction")
    path = (prefix + where).lstrip(".") or "config"
    unknown = re.match(r"Object contains unknown field `(.+)`", text)
    if unknown and (fields := _field_names(kind)):
        return f"{path}.{unknown[1]}: unknown key; known are {', '.join(fields)}"
    shown = "" if isinstance(value, dict | list) else f" = {_show(value)}"
    if allowed := _choices(kind):
        text = f"not allowed; one of {allowed}"
    return f"{path}{shown}: {text}"


def _show(value: Any) -> str:
    return str(value) if isinstance(value, Decimal) else repr(value)


def _step_type(kind: Any, key: str) -> Any:
    if not key:
        return getattr(kind, "__args__", (None,))[0]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return next((field.type for field in msgspec.structs.fields(kind) if field.encode_name == key), None)
    return None


def _choices(kind: Any) -> str:
    """What a closed set allows, or "" if `kind` is none."""
    if get_origin(kind) is Literal:
        return ", ".join(repr(choice) for choice in get_args(kind))
    parts = [choice for part in get_args(kind) if (choice := _choices(part))]
    return " or ".join(parts)


def _field_names(kind: Any) -> list[str]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return sorted(field.encode_name for field in msgspec.structs.fields(kind))
    return []
