"""The pre-trade checks: every row at its boundary, and what a close may take."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import checks
from actors.check_input import CheckInput, Exposure, Held, InstrumentLimits, Losses, Scope, Target
from actors.checks import CHECKS, Approved, ApprovedCancel, Refused, check_signal
from actors.limit_checks import LIMIT_CHECKS
from actors.limits import NO_LIMITS, Limits
from actors.marks import Quote
from actors.throttle import Rates
from protocol.limits import LOSS_LIMITS, parse_hours
from protocol.messages import SIGNAL_CANCEL, SIGNAL_CLOSE, SIGNAL_MODIFY, SIGNAL_ORDER, Intent
from protocol.orders import OrderType, Side, TimeInForce, TradingMode
from protocol.records import OrderCancel, OrderPlace
from protocol.units import MICROS_MAX

LOT, TICK, LIMIT, AGE = 10, 5, 1000, 1_000_000
BUY, SELL = Side.BUY, Side.SELL

ORDER = Intent(16, 7, 1, 0, b"epoch", 302, SIGNAL_ORDER, 0, BUY, OrderType.MARKET, quantity=100)
CLOSE = Intent(16, 8, 1, 0, b"epoch", 305, SIGNAL_CLOSE, 0)
MODIFY = Intent(16, 9, 1, 0, b"epoch", 305, SIGNAL_MODIFY, 0, order_id=4)
CANCEL = Intent(16, 9, 1, 0, b"epoch", 305, SIGNAL_CANCEL, 0, order_id=4)


def given_input(intent: Intent = ORDER, **changes: Any) -> CheckInput:
    """`limits` and `scope` are the engine's, the exposure the strategy's too."""
    exposure = Exposure(*(changes.pop(name, 0) for name in ("position", "open_buy", "open_sell")))
    limits = changes.pop("limits", Limits(max_position=LIMIT))
    engine = Scope(limits=limits, exposure=exposure, **changes.pop("scope", {}))
    usual: dict[str, Any] = {
        "instrument": InstrumentLimits(tick_size=TICK, lot_size=LOT, symbol="EURUSD"),
        "engine": engine,
        "own": Scope(strategy="sma", exposure=exposure),
        "halted": False,
        "mode": TradingMode.ACTIVE,
        "signal_age_us": 0,
        "max_signal_age_us": AGE,
    }
    return CheckInput(intent=intent, **(usual | changes))


def order(**changes: Any) -> Intent:
    return msgspec.structs.replace(ORDER, **changes)


def limit_order(price: int, **changes: Any) -> Intent:
    return order(order_type=OrderType.LIMIT, limit_price=price, **changes)


def stop_order(price: int, **changes: Any) -> Intent:
    return order(order_type=OrderType.STOP, stop_price=price, **changes)


def stop_limit(price: int, limit: int, **changes: Any) -> Intent:
    return order(order_type=OrderType.STOP_LIMIT, stop_price=price, limit_price=limit, **changes)


WORKING = OrderPlace(4, 16, 3, 0, BUY, OrderType.LIMIT, 100, 10 * TICK)


def change(target: dict[str, Any] | None = None, place: dict[str, Any] | None = None, **changes: Any) -> CheckInput:
    """Of a limit order for 100 of which 40 are filled; `target` and `place` say what is different about it."""
    terms = {name: changes.pop(name) for name in list(changes) if name in Intent.__struct_fields__}
    intent = msgspec.structs.replace(MODIFY, **terms)
    aim = Target(msgspec.structs.replace(WORKING, **(place or {})), 40)._replace(**(target or {}))
    return given_input(intent, target=aim, owner=16, **changes)


def reason_of(given: CheckInput) -> str:
    verdict = check_signal(given, 1)
    return verdict.reason if isinstance(verdict, Refused) else ""


REDUCING = TradingMode.REDUCING
CASES = [
    ("a market order", given_input(), ""),
    ("halted by the page", given_input(halted=True), "trading_halted"),
    ("halted by the fold", given_input(mode=TradingMode.HALTED), "trading_halted"),
    ("a close when halted", given_input(CLOSE, halted=True, position=100), "trading_halted"),
    ("an order on a disk that is nearly full", given_input(disk_low=True), "disk_nearly_full"),
    ("increasing on such a disk", given_input(disk_low=True, position=100), "disk_nearly_full"),
    ("reducing to flat on such a disk", given_input(order(side=SELL), disk_low=True, position=100), ""),
    ("through zero on such a disk", given_input(order(side=SELL), disk_low=True, position=90), "disk_nearly_full"),
    ("twice on such a disk", given_input(order(side=SELL), disk_low=True, position=190, open_sell=100),
     "disk_nearly_full"),
    ("a close on such a disk", given_input(CLOSE, disk_low=True, position=-100), ""),
    ("a symbol without config", given_input(instrument=None), "unknown_symbol"),
    ("a change of no order", given_input(MODIFY), "unknown_order"),
    ("a change of another's", given_input(MODIFY, owner=17, target=Target(WORKING)), "not_yours"),
    ("a change when halted", change(quantity=LOT, halted=True), "trading_halted"),
    ("growing on a disk that is nearly full", change(quantity=110, disk_low=True), "disk_nearly_full"),
    ("another price on such a disk", change(limit_price=TICK, disk_low=True), "disk_nearly_full"),
    ("shrinking on such a disk", change(quantity=90, disk_low=True), ""),
    ("a change of what has ended", change({"is_open": False}, quantity=LOT), "order_ended"),
    ("a change of what is being canceled", change({"is_ending": True}, quantity=LOT), "order_ended"),
    ("a second change", change({"is_changing": True}, quantity=LOT), "change_under_way"),
    ("a change of nothing", change(), "bad_change"),
    ("a change to less than nothing", change(quantity=-LOT), "bad_change"),
    ("an exit's quantity", change({"is_exit": True}, quantity=LOT), "bad_change"),
    ("an exit's price", change({"is_exit": True}, limit_price=TICK), ""),
    ("an old change", change(quantity=LOT, signal_age_us=AGE + 1), "stale_signal"),
    ("an old change of what only reduces", change(place={"reduce_only": True}, limit_price=TICK,
                                                  signal_age_us=AGE + 1), ""),
    ("a change to what is filled", change(quantity=40), ""),
    ("a change to off the lot", change(quantity=LOT + 1), "bad_quantity"),
    ("another price of what is off the lot", change(place={"quantity": 101}, limit_price=TICK), ""),
    ("a change to off the tick", change(limit_price=TICK + 1), "bad_price"),
    ("a stop for a limit order", change(stop_price=TICK), "bad_price"),
    ("a trail for a limit order", change(trail=TICK), "bad_price"),
    ("a limit beyond its stop loss", change(place={"stop_loss": 5 * TICK}, limit_price=4 * TICK), "bad_bracket"),
    ("an expiry of what has none", change(expire_us=5), "bad_expiry"),
    ("another expiry", change(place={"time_in_force": TimeInForce.GTD, "expire_us": 4}, expire_us=5), ""),
    ("growing to the limit", change(quantity=200, position=400, open_buy=500), ""),
    ("growing beyond", change(quantity=210, position=400, open_buy=500), "max_position_per_symbol"),
    ("shrinking beyond the limit", change(quantity=90, position=400, open_buy=5000), ""),
    ("another price beyond the limit", change(limit_price=TICK, position=400, open_buy=5000), ""),
    ("growing while reducing", change(quantity=110, mode=TradingMode.REDUCING), "trading_reducing"),
    ("growing what reduces", change(quantity=110, mode=TradingMode.REDUCING, position=-110, open_buy=100), ""),
    ("growing it through zero", change(quantity=120, mode=TradingMode.REDUCING, position=-110, open_buy=100),
     "trading_reducing"),
    ("shrinking while reducing", change(quantity=90, mode=TradingMode.REDUCING), ""),
    ("an unknown kind", given_input(order(kind=9)), "unsupported"),
    ("a signal as old as allowed", given_input(signal_age_us=AGE), ""),
    ("a signal too old", given_input(signal_age_us=AGE + 1), "stale_signal"),
    ("an old signal of a file source", given_input(signal_age_us=10 * AGE, max_signal_age_us=None), ""),
    ("an old close", given_input(CLOSE, signal_age_us=10 * AGE, position=100), ""),
    ("one lot", given_input(order(quantity=LOT)), ""),
    ("no quantity", given_input(order(quantity=0)), "bad_quantity"),
    ("a negative quantity", given_input(order(quantity=-LOT)), "bad_quantity"),
    ("less than a lot", given_input(order(quantity=LOT - 1)), "bad_quantity"),
    ("more than a lot", given_input(order(quantity=LOT + 1)), "bad_quantity"),
    ("beyond 64 bits", given_input(order(quantity=(MICROS_MAX // LOT + 1) * LOT)), "bad_quantity"),
    ("one tick", given_input(limit_order(TICK)), ""),
    ("no limit price", given_input(limit_order(0)), "bad_price"),
    ("a negative limit price", given_input(limit_order(-TICK)), "bad_price"),
    ("off the tick", given_input(limit_order(TICK + 1)), "bad_price"),
    ("a price beyond 64 bits", given_input(limit_order((MICROS_MAX // TICK + 1) * TICK)), "bad_price"),
    ("a market order with a limit price", given_input(order(limit_price=TICK)), "bad_price"),
    ("a stop order", given_input(stop_order(TICK)), ""),
    ("a stop order without a stop", given_input(stop_order(0)), "bad_price"),
    ("a stop order with a limit", given_input(stop_order(TICK, limit_price=TICK)), "bad_price"),
    ("a stop off the tick", given_input(stop_order(TICK + 1)), "bad_price"),
    ("a negative stop", given_input(stop_order(-TICK)), "bad_price"),
    ("a stop beyond 64 bits", given_input(stop_order((MICROS_MAX // TICK + 1) * TICK)), "bad_price"),
    ("a market order with a stop", given_input(order(stop_price=TICK)), "bad_price"),
    ("a limit order with a stop", given_input(limit_order(TICK, stop_price=TICK)), "bad_price"),
    ("a stop limit order", given_input(stop_limit(TICK, TICK)), ""),
    ("a stop limit order without a limit", given_input(stop_limit(TICK, 0)), "bad_price"),
    ("a stop limit order without a stop", given_input(stop_limit(0, TICK)), "bad_price"),
    ("a trailing stop", given_input(stop_order(0, trail=TICK)), ""),
    ("a trailing stop with a first stop", given_input(stop_order(TICK, trail=TICK)), ""),
    ("a trail off the tick", given_input(stop_order(0, trail=TICK + 1)), "bad_price"),
    ("a negative trail", given_input(stop_order(0, trail=-TICK)), "bad_price"),
    ("a market order that trails", given_input(order(trail=TICK)), "bad_price"),
    ("a stop limit order that trails", given_input(stop_limit(TICK, TICK, trail=TICK)), "bad_price"),
    ("a bracket", given_input(order(stop_loss=TICK, take_profit=2 * TICK)), ""),
    ("a stop loss off the tick", given_input(order(stop_loss=TICK + 1)), "bad_price"),
    ("a negative take profit", given_input(order(take_profit=-TICK)), "bad_price"),
    ("a buy's exits the wrong way round", given_input(order(stop_loss=2 * TICK, take_profit=TICK)), "bad_bracket"),
    ("both exits at one price", given_input(order(stop_loss=TICK, take_profit=TICK)), "bad_bracket"),
    ("a buy's stop loss below its limit", given_input(limit_order(2 * TICK, stop_loss=TICK)), ""),
    ("a buy's stop loss at its limit", given_input(limit_order(2 * TICK, stop_loss=2 * TICK)), "bad_bracket"),
    ("a buy's take profit at its limit", given_input(limit_order(2 * TICK, take_profit=2 * TICK)), "bad_bracket"),
    ("a buy's take profit above its stop", given_input(stop_order(2 * TICK, take_profit=3 * TICK)), ""),
    ("a buy's take profit below its stop", given_input(stop_order(2 * TICK, take_profit=TICK)), "bad_bracket"),
    ("a sell's exits", given_input(limit_order(2 * TICK, side=SELL, stop_loss=3 * TICK, take_profit=TICK)), ""),
    ("a sell's stop loss below", given_input(limit_order(2 * TICK, side=SELL, stop_loss=TICK)), "bad_bracket"),
    ("a sell's take profit above", given_input(limit_order(2 * TICK, side=SELL, take_profit=3 * TICK)), "bad_bracket"),
    ("good till a date", given_input(order(time_in_force=TimeInForce.GTD, expire_us=1)), ""),
    ("good till no date", given_input(order(time_in_force=TimeInForce.GTD)), "bad_expiry"),
    ("good till before time began", given_input(order(time_in_force=TimeInForce.GTD, expire_us=-1)), "bad_expiry"),
    ("a date for one that has none", given_input(order(time_in_force=TimeInForce.DAY, expire_us=1)), "bad_expiry"),
    ("fill or kill", given_input(order(time_in_force=TimeInForce.FOK)), ""),
    ("up to the limit", given_input(order(quantity=LIMIT)), ""),
    ("beyond the limit", given_input(order(quantity=LIMIT + LOT)), "max_position_per_symbol"),
    ("with the position", given_input(position=900), ""),
    ("too much with the position", given_input(position=910), "max_position_per_symbol"),
    ("with open buys", given_input(position=400, open_buy=500), ""),
    ("too much with open buys", given_input(position=400, open_buy=510), "max_position_per_symbol"),
    ("open sells do not help a buy", given_input(position=910, open_sell=900), "max_position_per_symbol"),
    ("a short to the limit", given_input(order(side=SELL), position=-400, open_sell=500), ""),
    ("a short beyond", given_input(order(side=SELL), position=-400, open_sell=510), "max_position_per_symbol"),
    ("through zero to the limit", given_input(order(quantity=1500), position=-500), ""),
    ("through zero beyond", given_input(order(quantity=1510), position=-500), "max_position_per_symbol"),
    ("back from beyond the limit", given_input(order(side=SELL), position=5000), ""),
    ("no limit set", given_input(order(quantity=10**15), limits=NO_LIMITS), ""),
    ("64 bits are a limit", given_input(position=MICROS_MAX - 99, limits=NO_LIMITS), "max_position_per_symbol"),
    ("reducing to flat", given_input(order(side=SELL), mode=REDUCING, position=100), ""),
    ("reducing a short", given_input(mode=REDUCING, position=-100), ""),
    ("reducing from flat", given_input(mode=REDUCING), "trading_reducing"),
    ("reducing through zero", given_input(order(side=SELL), mode=REDUCING, position=90), "trading_reducing"),
    ("reducing twice", given_input(order(side=SELL), mode=REDUCING, position=190, open_sell=100), "trading_reducing"),
    ("increasing", given_input(mode=REDUCING, position=100), "trading_reducing"),
    ("closing while reducing", given_input(CLOSE, mode=REDUCING, position=-300, open_buy=100), ""),
    ("closing when flat", given_input(CLOSE), "nothing_to_close"),
    ("closing what is being closed", given_input(CLOSE, position=100, open_sell=100), "nothing_to_close"),
    ("closing what is being reversed", given_input(CLOSE, position=-100, open_buy=200), "nothing_to_close"),
    ("closing what is off the lot", given_input(CLOSE, position=101), ""),
]


ONE = 1_000_000
MONEY = ONE * ONE
QUOTE = Quote(bid=10 * ONE, ask=11 * ONE, time_us=5 * AGE)
HOURS = parse_hours("mon-fri 08:00-17:00")
HOUR_US = 3_600 * ONE
MONDAY_US = 4 * 24 * HOUR_US


def limited(
    intent: Intent = ORDER, *, quote: Quote | None = QUOTE, scope: dict[str, Any] | None = None, position: int = 0,
    open_buy: int = 0, market_us: int = QUOTE.time_us, **limits: Any,
) -> CheckInput:  # fmt: skip
    """An order of 100 at bid 10, ask 11: it is worth 1,100."""
    return given_input(
        msgspec.structs.replace(intent, quantity=100 * ONE if intent.kind == SIGNAL_ORDER else 0),
        limits=Limits(**limits), quote=quote, scope=scope or {}, position=position, open_buy=open_buy,
        market_us=market_us, leverage=100,
        instrument=InstrumentLimits(tick_size=TICK, lot_size=ONE, symbol="EURUSD"),
    )  # fmt: skip


def change_at(
    *, quantity: int = 0, limit_price: int = 0, scope: dict[str, Any] | None = None, position: int = 0, **limits: Any
) -> CheckInput:
    """Of an order for 100 at 5."""
    return change(
        {"filled": 0}, {"quantity": 100 * ONE, "limit_price": 5 * ONE}, quantity=quantity, limit_price=limit_price,
        limits=Limits(**limits), quote=QUOTE, scope=scope or {}, position=position, market_us=QUOTE.time_us,
        leverage=100, instrument=InstrumentLimits(tick_size=TICK, lot_size=ONE, symbol="EURUSD"),
    )  # fmt: skip


def losing(*losses: int) -> dict[str, Any]:
    return {"losses": Losses(*losses)}


LONG = 100 * ONE
SELL_100 = order(side=SELL)
TWICE = InstrumentLimits(tick_size=TICK, lot_size=ONE, multiplier=2 * ONE)
LIMIT_CASES = [
    ("another symbol is restricted", limited(restricted_symbols=frozenset({"USDJPY"})), ""),
    ("a restricted symbol", limited(restricted_symbols=frozenset({"EURUSD"})), "restricted_symbol"),
    ("out of a restricted symbol", limited(SELL_100, position=LONG, restricted_symbols=frozenset({"EURUSD"})), ""),
    ("through zero in one", limited(SELL_100, position=LONG - 1, restricted_symbols=frozenset({"EURUSD"})),
     "restricted_symbol"),
    ("as it opens", limited(trading_hours=HOURS, market_us=MONDAY_US + 8 * HOUR_US), ""),
    ("just before it opens", limited(trading_hours=HOURS, market_us=MONDAY_US + 8 * HOUR_US - 1), "trading_hours"),
    ("just before it closes", limited(trading_hours=HOURS, market_us=MONDAY_US + 17 * HOUR_US - 1), ""),
    ("as it closes", limited(trading_hours=HOURS, market_us=MONDAY_US + 17 * HOUR_US), "trading_hours"),
    ("a close when it is closed", limited(CLOSE, position=LONG, trading_hours=HOURS, market_us=MONDAY_US), ""),
    ("no quote where none is asked for", limited(quote=None), ""),
    ("no quote", limited(quote=None, require_quote=True), "no_quote"),
    ("no quote to tell its age", limited(quote=None, max_quote_age_us=5), "no_quote"),
    ("no quote for a collar", limited(quote=None, price_collar=5), "no_quote"),
    ("no quote to value a market order", limited(quote=None, max_order_value=1), "no_quote"),
    ("an own price is enough", limited(limit_order(10 * ONE), quote=None, max_order_value=1000 * MONEY), ""),
    ("closing without a quote", limited(CLOSE, position=LONG, quote=None, require_quote=True), ""),
    ("a locked quote", limited(quote=Quote(10, 10, 0), require_quote=True), ""),
    ("a crossed quote", limited(quote=Quote(11, 10, 0), require_quote=True), "crossed_quote"),
    ("a crossed quote where nobody asks", limited(quote=Quote(11, 10, 0)), ""),
    ("a quote as old as allowed", limited(max_quote_age_us=7, market_us=QUOTE.time_us + 7), ""),
    ("a stale quote", limited(max_quote_age_us=7, market_us=QUOTE.time_us + 8), "stale_quote"),
    ("as large as allowed", limited(max_order_quantity=100 * ONE), ""),
    ("too large", limited(max_order_quantity=100 * ONE - 1), "max_order_quantity"),
    ("a close is as large as it must be", limited(CLOSE, position=LONG, max_order_quantity=1, max_order_value=1), ""),
    ("worth as much as allowed", limited(max_order_value=1100 * MONEY), ""),
    ("worth too much", limited(max_order_value=1100 * MONEY - 1), "max_order_value"),
    ("a sell is worth what the ask says", limited(SELL_100, max_order_value=1100 * MONEY - 1), "max_order_value"),
    ("a limit above the quote is worth more", limited(limit_order(12 * ONE), max_order_value=1200 * MONEY - 1),
     "max_order_value"),
    ("with the multiplier", dataclasses.replace(limited(max_order_value=2200 * MONEY - 1), instrument=TWICE),
     "max_order_value"),
    ("a market order within the collar", limited(price_collar=1), ""),
    ("at the collar above the ask", limited(limit_order(11_110_000), price_collar=10_000), ""),
    ("beyond it", limited(limit_order(11_110_005), price_collar=10_000), "price_collar"),
    ("at the collar below the bid", limited(limit_order(9_900_000), price_collar=10_000), ""),
    ("below it", limited(limit_order(9_899_995), price_collar=10_000), "price_collar"),
    ("a stop beyond it", limited(stop_order(11_110_005), price_collar=10_000), "price_collar"),
    ("within the spread", limited(limit_order(10_500_000), price_collar=1), ""),
    ("all that is held", limited(max_gross_exposure=1100 * MONEY), ""),
    ("more than that", limited(max_gross_exposure=1100 * MONEY - 1), "max_gross_exposure"),
    ("with other symbols", limited(scope={"elsewhere": Held(gross=MONEY)}, max_gross_exposure=1101 * MONEY - 1),
     "max_gross_exposure"),
    ("with open orders", limited(open_buy=LONG, max_gross_exposure=2200 * MONEY - 1), "max_gross_exposure"),
    ("what reduces lets it be", limited(SELL_100, position=LONG, max_gross_exposure=1), ""),
    ("long against short", limited(scope={"elsewhere": Held(5000 * MONEY, -500 * MONEY)},
                                   max_net_exposure=600 * MONEY), ""),
    ("too much of it", limited(scope={"elsewhere": Held(5000 * MONEY, -500 * MONEY)},
                               max_net_exposure=600 * MONEY - 1), "max_net_exposure"),
    ("short with short", limited(SELL_100, scope={"elsewhere": Held(0, 0, 500 * MONEY)},
                                 max_net_exposure=1600 * MONEY - 1), "max_net_exposure"),
    ("enough margin", limited(scope={"equity": 11 * MONEY}, min_free_margin=0), ""),
    ("not enough", limited(scope={"equity": 11 * MONEY - 1}, min_free_margin=0), "min_free_margin"),
    ("to the least that is to be free", limited(scope={"equity": 16 * MONEY}, min_free_margin=5 * MONEY), ""),
    ("below it", limited(scope={"equity": 16 * MONEY - 1}, min_free_margin=5 * MONEY), "min_free_margin"),
    ("one more open order", limited(scope={"open_orders": 4}, max_open_orders=5), ""),
    ("one too many", limited(scope={"open_orders": 5}, max_open_orders=5), "max_open_orders"),
    ("a close besides", limited(CLOSE, position=LONG, scope={"open_orders": 5}, max_open_orders=5), ""),
    ("slowly enough", limited(scope={"rates": Rates(1, 1, 0)}, max_orders_per_s=5, max_messages_per_s=5), ""),
    ("too many orders", limited(scope={"rates": Rates(0, 1, 0)}, max_orders_per_s=5), "max_orders_per_s"),
    ("too many messages", limited(scope={"rates": Rates(1, 0, 0)}, max_messages_per_s=5), "max_messages_per_s"),
    ("a close at any pace", limited(CLOSE, position=LONG, scope={"rates": Rates(0, 0, 9)}, max_orders_per_s=5,
                                    max_messages_per_s=5, max_repeated_orders=1), ""),
    ("the same order again", limited(scope={"rates": Rates(1, 1, 2)}, max_repeated_orders=3), ""),
    ("once too often", limited(scope={"rates": Rates(1, 1, 3)}, max_repeated_orders=3), "max_repeated_orders"),
    *(
        (f"{key} {name}", limited(scope=losing(*(loss if index == at else 0 for at in range(4))),
                                  losses=tuple(10 if index == at else None for at in range(4))), reason)
        for index, key in enumerate(LOSS_LIMITS)
        for name, loss, reason in (("before it is reached", 9, ""), ("reached", 10, key))
    ),
    ("another price within the collar", change_at(limit_price=10_000_000, price_collar=10_000), ""),
    ("beyond the collar", change_at(limit_price=9_899_995, price_collar=10_000), "price_collar"),
    ("a collar of what does not change", change_at(quantity=90 * ONE, price_collar=10_000), ""),
    ("a change that is too large", change_at(quantity=101 * ONE, max_order_quantity=100 * ONE), "max_order_quantity"),
    ("no change of what is too large", change_at(limit_price=TICK, max_order_quantity=1), ""),
    ("a dearer order", change_at(limit_price=12 * ONE, max_order_value=1200 * MONEY - 1), "max_order_value"),
    ("as dear as allowed", change_at(limit_price=12 * ONE, max_order_value=1200 * MONEY), ""),
    ("a cheaper one of what is too dear", change_at(limit_price=TICK, max_order_value=1), ""),
    ("growth counts", change_at(quantity=101 * ONE, position=LONG, max_gross_exposure=1111 * MONEY - 1),
     "max_gross_exposure"),
    ("and nothing else", change_at(limit_price=TICK, position=LONG, max_gross_exposure=1), ""),
    ("growing at a loss", change_at(quantity=101 * ONE, scope=losing(10), losses=(10, None, None, None)),
     "max_daily_loss"),
    ("a change is no new order", change_at(quantity=101 * ONE, scope={"rates": Rates(0, 1, 9), "open_orders": 9},
                                           max_orders_per_s=5, max_repeated_orders=1, max_open_orders=1), ""),
    ("too many changes", change_at(limit_price=TICK, scope={"rates": Rates(1, 0, 0)}, max_messages_per_s=5),
     "max_messages_per_s"),
    ("out of a losing position", limited(SELL_100, position=LONG, scope=losing(10), losses=(10, None, None, None)), ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "reason"), [case[1:] for case in LIMIT_CASES], ids=[case[0] for case in LIMIT_CASES]
)
def test_each_limit_lets_pass_up_to_its_boundary_and_refuses_beyond(given: CheckInput, reason: str) -> None:
    assert reason_of(given) == reason


@pytest.mark.parametrize(
    ("given", "reason"), [case[1:] for case in LIMIT_CASES if case[2] and case[2] != "min_free_margin"],
    ids=[case[0] for case in LIMIT_CASES if case[2] and case[2] != "min_free_margin"],
)  # fmt: skip
def test_a_strategys_own_limit_binds_as_the_engines_does_and_says_whose_it_is(given: CheckInput, reason: str) -> None:
    own = dataclasses.replace(given.engine, strategy="sma")
    engine = Scope(exposure=given.engine.exposure)
    verdict = check_signal(dataclasses.replace(given, engine=engine, own=own), 1)
    assert isinstance(verdict, Refused)
    assert verdict.reason == reason
    assert verdict.detail.startswith("strategy sma: ")


@pytest.mark.parametrize("check", [*CHECKS, *LIMIT_CHECKS], ids=lambda check: check.reason)
def test_no_check_can_be_skipped_by_an_exception(check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: object) -> str | None:
        raise ZeroDivisionError

    for table in ("CHECKS", "LIMIT_CHECKS"):
        rows = tuple(row._replace(objects=broken) if row is check else row for row in getattr(checks, table))
        monkeypatch.setattr(checks, table, rows)
    verdict = check_signal(given_input(), 1)
    assert isinstance(verdict, Refused)
    assert (verdict.reason, verdict.detail.split(":")[0]) == (checks.CHECK_FAILED, check.reason)


@pytest.mark.parametrize(("given", "reason"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_each_check_lets_pass_up_to_its_boundary_and_refuses_beyond(given: CheckInput, reason: str) -> None:
    assert reason_of(given) == reason


def test_every_row_of_the_tables_refuses_something_here() -> None:
    rows = [check.reason for check in (*CHECKS, *LIMIT_CHECKS)]
    assert len(set(rows)) == len(rows)
    refused = {reason for _, _, reason in [*CASES, *LIMIT_CASES] if reason}
    assert set(rows) == refused - {"unknown_order", "not_yours"}


def test_an_approved_order_is_what_the_strategy_asked_for() -> None:
    intent = limit_order(50, side=SELL)
    assert check_signal(given_input(intent), 12) == Approved(
        OrderPlace(12, 16, 7, 0, SELL, OrderType.LIMIT, 100, 50, market_epoch=b"epoch", market_position=302)
    )


def test_the_terms_of_an_order_are_copied() -> None:
    intent = stop_order(50, trail=10, time_in_force=TimeInForce.GTD, expire_us=99, oco=6)
    assert check_signal(given_input(intent), 12) == Approved(
        OrderPlace(12, 16, 7, 0, BUY, OrderType.STOP, 100, 0, 50, TimeInForce.GTD, market_epoch=b"epoch",
                   market_position=302, trail=10, expire_us=99, oco=6)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("stop_loss", "take_profit", "ids"), [(0, 0, (0, 0)), (50, 0, (13, 0)), (0, 60, (0, 13)), (50, 60, (13, 14))]
)
def test_the_ids_after_an_orders_own_are_its_exits_the_stop_losss_first(
    stop_loss: int, take_profit: int, ids: tuple[int, int]
) -> None:
    verdict = check_signal(given_input(order(stop_loss=stop_loss, take_profit=take_profit)), 12)
    assert isinstance(verdict, Approved)
    place = verdict.place
    assert (place.stop_loss, place.take_profit) == (stop_loss, take_profit)
    assert (place.stop_loss_order_id, place.take_profit_order_id) == ids


def test_a_close_has_no_terms_of_its_own_whatever_its_signal_says() -> None:
    intent = msgspec.structs.replace(CLOSE, limit_price=50, stop_loss=40, oco=3, time_in_force=TimeInForce.GTD)
    plain, odd = (check_signal(given_input(one, position=100), 3) for one in (CLOSE, intent))
    assert plain == odd


@pytest.mark.parametrize(
    ("position", "open_buy", "open_sell", "side", "quantity"),
    [
        (300, 0, 0, SELL, 300),
        (-300, 0, 0, BUY, 300),
        (300, 0, 100, SELL, 200),
        (-300, 100, 0, BUY, 200),
        (300, 100, 0, SELL, 300),
        (-300, 0, 100, BUY, 300),
    ],
)
def test_a_close_takes_the_position_less_what_open_orders_reduce_already(
    position: int, open_buy: int, open_sell: int, side: Side, quantity: int
) -> None:
    given = given_input(CLOSE, position=position, open_buy=open_buy, open_sell=open_sell)
    assert check_signal(given, 3) == Approved(
        OrderPlace(
            3, 16, 8, 0, side, OrderType.MARKET, quantity, reduce_only=True, market_epoch=b"epoch", market_position=305
        )
    )


@pytest.mark.parametrize("changes", [{}, {"halted": True}, {"mode": TradingMode.HALTED}, {"instrument": None},
                                     {"signal_age_us": 10 * AGE}, {"position": 10**6}, {"disk_low": True}])  # fmt: skip
def test_a_cancel_of_ones_own_order_always_passes(changes: dict[str, Any]) -> None:
    given = given_input(CANCEL, owner=16, **changes)
    assert check_signal(given, 3) == ApprovedCancel(OrderCancel(4, 16, 9, "strategy"))


@pytest.mark.parametrize(("owner", "reason"), [(None, "unknown_order"), (17, "not_yours"), (0, "not_yours")])
def test_a_cancel_of_what_is_not_ones_own_is_refused(owner: int | None, reason: str) -> None:
    assert reason_of(given_input(CANCEL, owner=owner)) == reason


@pytest.mark.parametrize(
    "broken",
    [
        given_input(instrument=InstrumentLimits(tick_size=TICK, lot_size=0)),
        given_input(limit_order(50), instrument=InstrumentLimits(tick_size=0, lot_size=LOT)),
        given_input(position=None),
        given_input(CLOSE, position=None),
        given_input(limits=None),
    ],
)
def test_a_check_that_raises_refuses(broken: CheckInput) -> None:
    assert reason_of(broken) == checks.CHECK_FAILED


quantities = st.integers(0, 300).map(lambda lots: lots * LOT)


@given(
    st.sampled_from([SIGNAL_ORDER, SIGNAL_CLOSE]), st.sampled_from(Side), st.integers(-2, 300), quantities,
    quantities, st.integers(-200, 200), st.sampled_from(TradingMode),
)  # fmt: skip
def test_no_approved_order_can_break_its_promise_however_the_open_orders_fill(
    kind: int, side: Side, lots: int, open_buy: int, open_sell: int, held: int, mode: TradingMode
) -> None:
    """Kill switch: "REDUCING that lets one open from flat or flip through zero" (NautilusTrader's risk engine)."""
    position = held * LOT
    intent = order(kind=kind, side=side, quantity=lots * LOT)
    verdict = check_signal(
        given_input(intent, position=position, open_buy=open_buy, open_sell=open_sell, mode=mode), 1
    )
    if not isinstance(verdict, Approved):
        return
    place = verdict.place
    assert mode is not TradingMode.HALTED
    assert place.quantity > 0
    same_side = open_buy if place.side is BUY else open_sell
    after = position + place.side.sign * (same_side + place.quantity)
    if kind == SIGNAL_CLOSE or mode is TradingMode.REDUCING:
        assert abs(after) <= abs(position)
        assert after * position >= 0
    else:
        assert after * place.side.sign <= LIMIT
