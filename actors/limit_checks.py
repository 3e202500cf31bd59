"""The limits before the trade: one literal table, each row for the engine and for the strategy by itself.

Pure functions of a CheckInput and the Scope whose limits are asked about. A row says itself what it spares: cancels
pass always, and of what would take exposure away some limits let everything through. `spares` is part of the rule, so
it stands in the table and not in the functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final, NamedTuple

from actors.check_input import CheckInput, Scope, Wish, shown, shown_money
from actors.limits import NO_LIMITS
from protocol.limits import LOSS_LIMITS
from protocol.orders import Side
from protocol.units import MICROS, MICROS_MAX

_BUY: Final = Side.BUY
_SELL: Final = Side.SELL


class Spares(Enum):
    """What a limit lets through all the same."""

    NOTHING = "nothing"
    CLOSES = "close()"
    REDUCTIONS = "what reduces the position"


class OfChange(Enum):
    """Which changes of an order a limit is asked about."""

    ALL = "all"
    GROWTH = "those that let it fill more"
    NONE = "none: it is no new order"


class LimitCheck(NamedTuple):
    reason: str
    objects: Callable[[CheckInput, Wish, Scope], str | None]
    """What it objects to, for people; None if nothing."""
    key: str
    """Its limit's, in [risk] and in [strategies.limits]."""
    spares: Spares
    origin: str
    """The regulation or the incident behind it."""
    of_change: OfChange = OfChange.GROWTH


def worded(scope: Scope, objection: str) -> str:
    """With whose limit it is."""
    return f"strategy {scope.strategy}: {objection}" if scope.strategy else objection


def asked_of(given: CheckInput, wish: Wish, table: Sequence[LimitCheck]) -> Sequence[LimitCheck]:
    """Of a new order every limit is asked, of a change those that it can meet."""
    if given.changed is None:
        return table
    met = (OfChange.ALL, OfChange.GROWTH) if wish.quantity > 0 else (OfChange.ALL,)
    return [check for check in table if check.of_change in met]


def bound(given: CheckInput, wish: Wish) -> list[tuple[Scope, tuple[Spares, ...]]]:
    """Whom limits bind, the engine first, each with what a limit may say that it spares, and so does here."""
    closes = (Spares.CLOSES,) if given.is_close else ()
    scopes = (given.engine, given.own) if given.own.limits is not NO_LIMITS else (given.engine,)
    return [
        (scope, (*closes, Spares.REDUCTIONS) if scope.exposure.reduces(wish.side, wish.quantity) else closes)
        for scope in scopes
    ]


def reference_price(given: CheckInput, wish: Wish) -> int | None:
    """What the order is reckoned at: its own price, else the side of the quote that it would meet; None: unknown."""
    own = wish.terms.limit_price or wish.terms.stop_price
    if own:
        return own
    if given.quote is None:
        return None
    return given.quote.ask if wish.side is _BUY else given.quote.bid


def _restricted(given: CheckInput, wish: Wish, scope: Scope) -> str | None:
    symbol = given.known_instrument.symbol
    return f"{symbol} is restricted" if symbol in scope.limits.restricted_symbols else None


def _closed(given: CheckInput, wish: Wish, scope: Scope) -> str | None:
    hours = scope.limits.trading_hours
    for stretch in hours:
        if stretch.holds(given.market_us):
            return None
    return "outside trading_hours, by the market's clock" if hours else None


def _no_quote(given: CheckInput, wish: Wish, scope: Scope) -> str | None:
    limits = scope.limits
    if given.quote is None and limits.asks_for_quote:
        return f"{given.known_instrument.symbol} has no quote yet"
    if given.quote is None and limits.needs_price and reference_price(given, wish) is None:
        return f"{given.known_instrument.symbol} has no quote yet, by which a limit could value the order"
    return scope.unconverted or None


def _crossed(given: CheckInput, wish: Wish, scope: Scope) -> str | None:
    quote = given.quote
    if quote is None or quote.bid <= quote.ask or not scope.limits.asks_for_quote:
        return None
    return f"bid {shown(quote.bid)} above ask {shown(quote.ask)}"


def _stale_quote(given: CheckInput, wish: Wish, scope: Scope) -> str | None:
    limit, quote = scope.limits.max_quote_age_us, given.quote
    if limit is None or quote is None or abs(given.market_us - quote.time_us) <= limit:
        return None  # one that lies as far ahead would not grow old as long as the feed is silent
    return f"the quote is {given.market_us - quote.time_us} us old, the limit is {limit}"


def _order_quantity(given: CheckInput, wish: Wish, scope: Scope) -> str | None:
    limit = scope.limits.max_order_quantity
    if limit is None or wish.whole <= limit:
        return None
    return f"quantity {shown(wish.whole)}, the limit is {shown(limit)}"


def _order_value(given: CheckInput, wish: Wish, scope: Scope) -> str | None:
    limit = scope.limits.max_order_value
    if limit is None or not _is_worth_more(given, wish):
        return None
    value = given.value(wish.whole, _price(given, wish))
    return None if value <= limit else f"worth {shown_money(value)}, the limit is {shown_money(limit)}"


def _is_worth_more(given: CheckInput, wish: Wish) -> bool:
    """A change that makes an order neither larger nor dearer passes, wherever the market is now."""
    target, terms = given.changed, wish.terms
    return target is None or wish.quantity > 0 or (terms.limit_price or terms.stop_price) > target.price


def _collar(given: CheckInput, wish: Wish, scope: Scope) -> str | None:
    """Limit and stop price, against the nearer side of the quote; of a change, those that change."""
    collar, quote = scope.limits.price_collar, given.quote
    if collar is None or quote is None:
        return None
    old = (0, 0) if given.changed is None else (given.changed.place.limit_price, given.changed.place.stop_price)
    new = wish.terms.limit_price, wish.terms.stop_price
    for name, price, was in zip(("limit price", "stop price"), new, old, strict=True):
        if price == was:
            continue
        nearest = min(max(price, quote.bid), quote.ask)
        if abs(price - nearest) * MICROS > collar * nearest:
            where = f"bid {shown(quote.bid)}, ask {shown(quote.ask)}"
            return f"{name} {shown(price)} is further than {shown(collar * 100)} % from {where}"
    return None


def _max_position(given: CheckInput, wish: Wish, scope: Scope) -> str | None:
    limit = MICROS_MAX if scope.limits.max_position is None else scope.limits.max_position
    worst = scope.exposure.worst(wish.side, wish.quantity)
    return f"could reach {shown(worst)}, the limit is {shown(limit)}" if worst > limit else None


def _gross_exposure(given: CheckInput, wish: Wish, scope: Scope) -> str | None:
    limit = scope.limits.max_gross_exposure
    if limit is None:
        return None
    gross = _gross(given, wish, scope)
    return None if gross <= limit else f"could reach {shown_money(gross)}, the limit is {shown_money(limit)}"


def _net_exposure(given: CheckInput, wish: Wish, scope: Scope) -> str | None:
    limit = scope.limits.max_net_exposure
    if limit is None:
        return None
    elsewhere = scope.elsewhere.long if wish.side is _BUY else scope.elsewhere.short
    worst = given.value(scope.exposure.worst(wish.side, wish.quantity), _price(given, wish))
    net = elsewhere + worst
    return None if net <= limit else f"could reach {shown_money(net)}, the limit is {shown_money(limit)}"


def _free_margin(given: CheckInput, wish: Wish, scope: Scope) -> str | None:
    limit = scope.limits.min_free_margin
    if limit is None:
        return None
    margin = -(-_gross(given, wish, scope) // given.leverage)
    free = scope.equity - margin
    if free >= limit:
        return None
    return f"would leave {shown_money(free)} of equity {shown_money(scope.equity)}, the least is {shown_money(limit)}"


def _open_orders(given: CheckInput, wish: Wish, scope: Scope) -> str | None:
    limit = scope.limits.max_open_orders
    if limit is None or scope.open_orders < limit:
        return None
    return f"{scope.open_orders} are open, the limit is {limit}"


def _order_rate(given: CheckInput, wish: Wish, scope: Scope) -> str | None:
    limit = scope.limits.max_orders_per_s
    return f"more than {limit} orders a second" if limit is not None and scope.rates.orders < 1 else None


def _message_rate(given: CheckInput, wish: Wish, scope: Scope) -> str | None:
    limit = scope.limits.max_messages_per_s
    if limit is None or scope.rates.messages >= 1:
        return None
    return f"more than {limit} orders, changes and cancels a second"


def _repeated(given: CheckInput, wish: Wish, scope: Scope) -> str | None:
    limit = scope.limits.max_repeated_orders
    if limit is None or scope.rates.repeats < limit:
        return None
    window_ms = scope.limits.repeat_window_us // 1000
    return f"the same order was placed {scope.rates.repeats} times within {window_ms} ms, the limit is {limit}"


def _loss(index: int) -> Callable[[CheckInput, Wish, Scope], str | None]:
    def objects(given: CheckInput, wish: Wish, scope: Scope) -> str | None:
        limit, loss = scope.limits.losses[index], scope.losses[index]
        if limit is None or loss < limit:
            return None
        return f"a loss of {shown_money(loss)}, the limit is {shown_money(limit)}"

    return objects


def _gross(given: CheckInput, wish: Wish, scope: Scope) -> int:
    """All positions with the order, each with the open orders of its worse side."""
    exposure, quantity = scope.exposure, wish.quantity
    buys = exposure.worst(_BUY, quantity if wish.side is _BUY else 0)
    worse = max(buys, exposure.worst(_SELL, 0 if wish.side is _BUY else quantity))
    return scope.elsewhere.gross + given.value(worse, _price(given, wish))


def _price(given: CheckInput, wish: Wish) -> int:
    """The dearer of the order's own price and the quote."""
    reference = reference_price(given, wish)
    assert reference is not None, "the row no_quote stands before"
    return reference if given.quote is None else max(reference, given.quote.ask)


_15C3_5: Final = "SEC 15c3-5(c)(1)"
_RTS6: Final = "MiFID II RTS 6 art. 15"
_LOSS_ROWS: Final = tuple(
    LimitCheck(key, _loss(index), key, Spares.REDUCTIONS, f"{_15C3_5}: financial exposure")
    for index, key in enumerate(LOSS_LIMITS)
)
LIMIT_CHECKS: Final[tuple[LimitCheck, ...]] = (
    LimitCheck("restricted_symbol", _restricted, "restricted_symbols", Spares.REDUCTIONS, "SEC 15c3-5(c)(2)"),
    LimitCheck("trading_hours", _closed, "trading_hours", Spares.REDUCTIONS, "orders that a closed market queues"),
    LimitCheck("no_quote", _no_quote, "require_quote", Spares.REDUCTIONS, "no price to check an order against"),
    LimitCheck("crossed_quote", _crossed, "require_quote", Spares.REDUCTIONS, "a feed that is broken"),
    LimitCheck("stale_quote", _stale_quote, "max_quote_age_ms", Spares.REDUCTIONS, "a feed that has stopped"),
    LimitCheck("max_order_quantity", _order_quantity, "max_order_quantity", Spares.CLOSES, f"{_RTS6}(1)(c)"),
    LimitCheck("max_order_value", _order_value, "max_order_value", Spares.CLOSES, f"{_RTS6}(1)(b)", OfChange.ALL),
    LimitCheck("price_collar", _collar, "price_collar", Spares.NOTHING, f"{_RTS6}(1)(a)", OfChange.ALL),
    LimitCheck("max_position_per_symbol", _max_position, "max_position_per_symbol", Spares.NOTHING, f"{_RTS6}(4)"),
    LimitCheck("max_gross_exposure", _gross_exposure, "max_gross_exposure", Spares.REDUCTIONS, _15C3_5),
    LimitCheck("max_net_exposure", _net_exposure, "max_net_exposure", Spares.REDUCTIONS, _15C3_5),
    LimitCheck("min_free_margin", _free_margin, "min_free_margin", Spares.REDUCTIONS, f"{_15C3_5}: credit"),
    LimitCheck("max_open_orders", _open_orders, "max_open_orders", Spares.CLOSES, "orders that nobody cancels",
               OfChange.NONE),
    LimitCheck("max_orders_per_s", _order_rate, "max_orders_per_s", Spares.CLOSES, f"{_RTS6}(1)(d); Knight Capital",
               OfChange.NONE),
    LimitCheck("max_messages_per_s", _message_rate, "max_messages_per_s", Spares.CLOSES, f"{_RTS6}(1)(d)",
               OfChange.ALL),
    LimitCheck("max_repeated_orders", _repeated, "max_repeated_orders", Spares.CLOSES, f"{_RTS6}(3); Knight Capital",
               OfChange.NONE),
    *_LOSS_ROWS,
)
