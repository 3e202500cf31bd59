"""Whom limits bind, and how they stand: the engine and each strategy, out of the fold, what is pending, and the market.

Owns what the fold does not know of it: the marks, and how fast one sends. What no limit asks for is not computed: an
engine without limits on money pays nothing for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from actors.check_input import (
    NO_LOSSES,
    NO_SYMBOL,
    NOTHING_HELD,
    UNLIMITED,
    Exposure,
    Held,
    InstrumentLimits,
    Losses,
    Scope,
    shown_money,
)
from actors.conversions import Conversions
from actors.fold import Fold
from actors.ledger import Account, fill_cost, value_account
from actors.limits import NO_LIMITS, Limits
from actors.marks import Marks, Quote
from actors.throttle import OrderKey, Throttle
from protocol.conversion import Rate
from protocol.limits import LOSS_LIMITS, LimitSettings
from protocol.messages import Intent
from protocol.orders import Side
from protocol.records import FIRST_STRATEGY, OrderPlace, OrderReplace
from protocol.ring_state import ThrottleState
from protocol.settings import Config
from protocol.units import DAY_US, MICROS

ENGINE: Final = 0
"""In the place of a strategy's id."""
_BUY: Final = Side.BUY


class BrokenLimit(NamedTuple):
    """A loss that has reached its limit, as products."""

    key: str
    who: int
    strategy: str
    """Its name; "" for the engine."""
    loss: int
    limit: int
    day: int
    action: str
    """protocol.limits.Action."""

    @property
    def reason(self) -> str:
        whose = f" of strategy {self.strategy}" if self.strategy else ""
        return f"{self.key}{whose}: lost {shown_money(self.loss)}, the limit is {shown_money(self.limit)}"


class Scopes:
    """`pending`, `replaces`: the ORDER_PLACEs and ORDER_REPLACEs that have not come back, by order id; the book's, and
    read here."""

    def __init__(
        self, config: Config, fold: Fold, pending: Mapping[int, OrderPlace],
        replaces: Mapping[int, OrderReplace] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        self._fold = fold
        self._pending = pending
        self._replaces = replaces
        self._instruments_by_name = {
            instrument.symbol: InstrumentLimits(
                instrument.tick_micros, instrument.lot_micros, instrument.multiplier_micros, instrument.symbol
            )
            for instrument in config.instruments
        }
        self._by_name = {settings.name: Limits.of(settings.limits) for settings in config.strategies}
        self._settings: dict[str, LimitSettings] = {settings.name: settings.limits for settings in config.strategies}
        self._settings[""] = config.risk
        self.limits: dict[int, Limits] = {ENGINE: Limits.of(config.risk)}
        """By strategy id, those that have any; the engine's always."""
        self.instruments: dict[int, InstrumentLimits] = {}
        """By symbol id, those of the config."""
        self.marks = Marks()
        self.conversions = Conversions(config)
        self.symbol_count = 0
        """How many symbol ids there are, where ticks may come before the fold knows; 0: it does."""
        self._is_file = config.market_data.is_file
        everyone = (self.limits[ENGINE], *self._by_name.values())
        self.needs_market = any(limits.needs_market for limits in everyone)
        self.needs_quotes = any(limits.needs_quotes for limits in everyone)
        self.needs_losses = any(limits.needs_losses for limits in everyone)
        self._throttles: dict[int, Throttle] = {}

    def take_run(self) -> None:
        """The fold has new id tables."""
        fold, known = self._fold, self._instruments_by_name
        self.conversions.take_run(fold.run)
        self.instruments = {index: known[name] for index, name in enumerate(fold.symbols) if name in known}
        for strategy_id, name in enumerate(fold.run.strategies if fold.run else (), FIRST_STRATEGY):
            limits = self._by_name.get(name, NO_LIMITS)
            if limits != NO_LIMITS:
                self.limits[strategy_id] = limits
        for who, limits in self.limits.items():
            if limits.needs_rates and who not in self._throttles:
                self._throttles[who] = Throttle(
                    limits.max_orders_per_s, limits.max_messages_per_s, limits.max_repeated_orders,
                    limits.repeat_window_us,
                )  # fmt: skip

    # The market.

    def take_ticks(self, records: memoryview) -> None:
        self.marks.take(records, self.symbol_count or len(self._fold.symbols))

    def quote(self, symbol_id: int) -> Quote | None:
        return self.marks.quotes.get(symbol_id)

    def rate(self, symbol_id: int) -> Rate | None:
        return self.conversions.rate(symbol_id, self.marks.quotes)

    def clock_us(self, now_us: int) -> int:
        """The market's: that of a file is its newest tick's, a live feed's goes on when the feed has stopped."""
        return self.marks.newest_us if self._is_file else now_us

    # How fast one sends.

    def sent_order(self, place: OrderPlace, now_us: int) -> None:
        """A strategy's; what risk itself places is not counted."""
        for who in (ENGINE, place.strategy_id):
            if (throttle := self._throttles.get(who)) is not None:
                throttle.took_order(now_us, _key(who, place))

    def sent_message(self, strategy_id: int, now_us: int) -> None:
        """A cancel or a change."""
        for who in (ENGINE, strategy_id):
            if (throttle := self._throttles.get(who)) is not None:
                throttle.took_message(now_us)

    def begin_behind(self, now_us: int) -> None:
        """A CHECKPOINT does not say how fast one has sent."""
        for throttle in self._throttles.values():
            throttle.begin_behind(now_us)

    def take_throttles(self) -> tuple[tuple[int, ThrottleState], ...]:
        return tuple((who, throttle.take_state()) for who, throttle in sorted(self._throttles.items()))

    def put_throttles(self, rows: Iterable[tuple[int, ThrottleState]]) -> None:
        for who, state in rows:
            if who in self._throttles:
                self._throttles[who].put_state(state)

    # How the limits stand.

    def scope(self, who: int, intent: Intent, now_us: int) -> Scope:
        """Of the engine, or of a strategy, for the signal."""
        limits = self.limits.get(who, NO_LIMITS)
        symbol_id = intent.symbol_id
        exposure = self.exposure(symbol_id, who)
        if limits is NO_LIMITS:
            return Scope(strategy=self._fold.strategy(who), exposure=exposure)
        throttle = self._throttles.get(who)
        equity = self.equity(who) if limits.needs_equity else 0
        return Scope(
            strategy=self._fold.strategy(who),
            limits=limits,
            exposure=exposure,
            elsewhere=self.held(who, symbol_id) if limits.needs_held else NOTHING_HELD,
            open_orders=self.open_orders(who) if limits.max_open_orders is not None else 0,
            rates=UNLIMITED if throttle is None else throttle.look(now_us, _key(who, intent)),
            losses=self._losses(who, equity, now_us) if limits.needs_losses else NO_LOSSES,
            equity=equity,
            unconverted=self.unconverted(who, limits, symbol_id),
        )

    def unconverted(self, who: int, limits: Limits, symbol_id: int = NO_SYMBOL) -> str:
        """Why money that the limits ask for, of an order in the symbol too, cannot be converted; "": it can."""
        if not self.conversions:
            return ""
        symbols = {symbol_id} if limits.needs_price else set[int]()
        if limits.needs_held:
            symbols |= self._symbols(who)
        elif limits.needs_equity:
            symbols |= {key for key, held in self._account(who).positions.items() if held.quantity}
        return self.conversions.unknown(symbols, self.marks.quotes)

    def exposure(self, symbol_id: int, who: int) -> Exposure:
        strategy_id = who or None
        buy, sell = self._fold.tracker.open_quantities(symbol_id, strategy_id)
        for place in self._pending.values():
            if place.symbol_id == symbol_id and who in (ENGINE, place.strategy_id) and not place.protects:
                if place.side is _BUY:
                    buy += place.quantity
                else:
                    sell += place.quantity
        for place, growth in self._growing():
            if place.symbol_id == symbol_id and who in (ENGINE, place.strategy_id):
                if place.side is _BUY:
                    buy += growth
                else:
                    sell += growth
        return Exposure(self._account(who).position(symbol_id).quantity, buy, sell)

    def _growing(self) -> Iterator[tuple[OrderPlace, int]]:
        """By how much more orders may fill if what is asked for, and has not come back, is done."""
        for order_id, replace in self._replaces.items():
            order = self._fold.tracker.open_orders.get(order_id)
            place = order.place if order is not None else self._pending.get(order_id)
            if place is not None and (order is None or not order.parent_id):
                yield place, max(0, replace.quantity - place.quantity)

    def drawdown(self) -> int:
        """The worst of any symbol, product; 0 or below."""
        return min(map(self._fold.drawdown, self.instruments), default=0)

    def losses(self, who: int, now_us: int) -> Losses:
        return self._losses(who, self.equity(who), now_us)

    def _losses(self, who: int, equity: int, now_us: int) -> Losses:
        """On a day on which no money has moved yet, none was lost before."""
        account = self._account(who)
        day_balance = account.day_balance if self.today(now_us) == self._fold.day else account.balance
        return Losses(
            day_balance - account.balance, day_balance - equity,
            account.peak_balance - account.balance, account.peak_balance - equity,
        )  # fmt: skip

    def broken_losses(self, now_us: int) -> Iterator[BrokenLimit]:
        """Every limit on losses that is reached now, the engine's first."""
        today = self.today(now_us)
        for who, limits in self.limits.items():
            if not limits.needs_losses:
                continue
            name = self._fold.strategy(who)
            losses = self._losses(who, self.equity(who) if limits.needs_equity else 0, now_us)
            for key, limit, loss in zip(LOSS_LIMITS, limits.losses, losses, strict=True):
                if limit is not None and loss >= limit:
                    action = self._settings[name].action(key, "refuse" if name else "halt")
                    yield BrokenLimit(key, who, name, loss, limit, today, action)

    def today(self, now_us: int) -> int:
        """Days since the epoch; a file that is read again from its first row does not bring yesterday back."""
        return max(self._fold.day, self.clock_us(now_us) // DAY_US)

    def _at_own_prices(self, symbol_id: int, who: int) -> tuple[int, int]:
        """(buys, sells) of a symbol without a quote, in its currency: open and pending orders at what they name."""
        tracker, values = self._fold.tracker, [0, 0]
        opened = (
            (order.place, order.reserved, order.replace)
            for order in tracker.open_in_symbol(symbol_id) if not order.parent_id
        )  # fmt: skip
        pending = (
            (place, place.quantity, None)
            for place in self._pending.values() if place.symbol_id == symbol_id and not place.protects
        )  # fmt: skip
        growing = ((place, growth, None) for place, growth in self._growing() if place.symbol_id == symbol_id)
        for place, quantity, asked in (*opened, *pending, *growing):
            if who in (ENGINE, place.strategy_id):
                price = max(place.limit_price, place.stop_price)
                if asked is not None:
                    price = max(price, asked.limit_price, asked.stop_price)
                values[place.side] += fill_cost(price, quantity, self._fold.multipliers[symbol_id])
        return values[Side.BUY], values[Side.SELL]

    def _account(self, who: int) -> Account:
        return self._fold.account if who == ENGINE else self._fold.account_of(who)

    def equity(self, who: int) -> int:
        """A product, rounded down; what cannot be converted now is no profit and no loss yet."""
        fold = self._fold
        assert fold.run is not None, "whoever decides has a fold"
        marks = self.marks.quotes
        rates = self.conversions.rates(marks)
        value = value_account(self._account(who), marks, fold.multipliers, fold.run.leverage, rates)
        return (value.balance + value.profit) // MICROS

    @property
    def leverage(self) -> int:
        return self._fold.run.leverage if self._fold.run else 1

    def open_orders(self, who: int) -> int:
        tracker = self._fold.tracker
        if who == ENGINE:
            return len(tracker.open_orders) + len(self._pending)
        pending = sum(place.strategy_id == who for place in self._pending.values())
        return len(tracker.open_of_strategy(who)) + pending

    def held(self, who: int, without: int = NO_SYMBOL) -> Held:
        """In all symbols but `without`."""
        account = self._account(who)
        gross = long = short = 0
        for other in self._symbols(who) - {without}:
            exposure, instrument, rate = self.exposure(other, who), self.instruments.get(other), self.rate(other)
            if rate is None:  # `unconverted` says so
                continue
            buys, sells = exposure.worst(Side.BUY, 0), exposure.worst(Side.SELL, 0)
            quote = self.marks.quotes.get(other)
            if quote is None or instrument is None:  # no price but what was paid for it, and the orders' own
                cost, open_buy, open_sell = account.position(other).cost, *self._at_own_prices(other, who)
                bought, sold = rate.convert_up(cost + open_buy), rate.convert_up(open_sell - cost)
                gross, long, short = gross + max(bought, sold), long + bought, short + sold
                continue
            gross += instrument.value(max(buys, sells), quote.ask, rate)
            long += instrument.value(buys, quote.ask, rate)
            short += instrument.value(sells, quote.ask, rate)
        return Held(gross, long, short)

    def _symbols(self, who: int) -> set[int]:
        """In which something is held, or may come to be."""
        opened = self._fold.tracker.open_orders.values()
        return {
            *(key for key, held in self._account(who).positions.items() if held.quantity),
            *(order.symbol_id for order in opened if who in (ENGINE, order.strategy_id)),
            *(place.symbol_id for place in self._pending.values() if who in (ENGINE, place.strategy_id)),
        }


def _key(who: int, order: OrderPlace | Intent) -> OrderKey:
    """What makes two orders the same; for the engine, whoever sends them."""
    return (
        order.strategy_id if who else ENGINE, order.symbol_id, order.side, order.order_type, order.quantity,
        order.limit_price, order.stop_price, order.trail, order.stop_loss, order.take_profit, order.time_in_force,
    )  # fmt: skip
