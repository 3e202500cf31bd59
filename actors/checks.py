"""The pre-trade checks: two literal tables, from a strategy's signal to an approved order or a refusal.

Pure functions of a CheckInput, which the caller fills from fold and pending together. A check may only refuse,
never change or shrink what was asked for; a check that raises refuses too (`check_failed`). Cancels of one's own
orders always pass, also when halted. Only what was approved has the type Approved, so nothing else can be appended as
an order.

Of a change of an order its terms are checked as a new order's; of its exposure only the growth counts, and what lets an
order fill no more than before passes the limits on exposure. When halted nothing is changed: an order can be canceled.

The first row that objects gives the reason; the rows stand from "nothing is let through now" over "this makes no
sense" to "this is too much", which are the limits (limit_checks.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

from actors.check_input import CheckInput, Target, Terms, Wish, shown
from actors.limit_checks import LIMIT_CHECKS, asked_of, bound, worded
from actors.protection import BY_STRATEGY
from actors.replacing import replaced
from protocol.messages import SIGNAL_CANCEL, SIGNAL_CLOSE, SIGNAL_MODIFY, SIGNAL_ORDER, Intent
from protocol.orders import OrderType, TimeInForce, TradingMode
from protocol.records import OrderCancel, OrderPlace, OrderReplace
from protocol.units import MICROS_MAX

CHECK_FAILED: Final = "check_failed"
_NO_TERMS: Final = Terms()
_WITH_LIMIT: Final = (OrderType.LIMIT, OrderType.STOP_LIMIT)
_WITH_STOP: Final = (OrderType.STOP, OrderType.STOP_LIMIT)


@dataclass(frozen=True, slots=True)
class Approved:
    """Every check passed: `place` may be appended."""

    place: OrderPlace


@dataclass(frozen=True, slots=True)
class ApprovedCancel:
    cancel: OrderCancel


@dataclass(frozen=True, slots=True)
class ApprovedReplace:
    replace: OrderReplace


@dataclass(frozen=True, slots=True)
class Refused:
    reason: str
    """A row's reason, or CHECK_FAILED."""
    detail: str


class Check(NamedTuple):
    reason: str
    objects: Callable[[CheckInput, Wish], str | None]
    """What it objects to, for people; None if nothing."""
    config_key: str
    """Where its limit comes from; "" if from nowhere."""
    spares: str
    """What it lets through all the same, for people."""
    origin: str
    """The regulation or the incident behind it."""


Verdict = Approved | ApprovedCancel | ApprovedReplace | Refused


def check_signal(given: CheckInput, order_id: int) -> Verdict:
    """What is to be appended: the order under `order_id`, the cancel, the change, or why none of them."""
    intent = given.intent
    if intent.kind in (SIGNAL_CANCEL, SIGNAL_MODIFY):
        if given.owner is None:
            return Refused("unknown_order", f"there is no order {intent.order_id}")
        if given.owner != intent.strategy_id:
            return Refused("not_yours", f"order {intent.order_id} belongs to another")
    if intent.kind == SIGNAL_CANCEL:
        return ApprovedCancel(OrderCancel(intent.order_id, intent.strategy_id, intent.number, BY_STRATEGY))
    reason = "wish"
    try:
        wish = _wish(given)
        for reason, objects, _, _, _ in CHECKS:
            objection = objects(given, wish)
            if objection is not None:
                return Refused(reason, objection)
        scopes = bound(given, wish)
        for reason, limit_objects, _, spares, _, _ in asked_of(given, wish, LIMIT_CHECKS):
            for scope, spared in scopes:
                if spares not in spared and (objection := limit_objects(given, wish, scope)) is not None:
                    return Refused(reason, worded(scope, objection))
        return ApprovedReplace(_replace(intent)) if given.changed else Approved(_place(intent, wish, order_id))
    except Exception as error:  # a check that cannot be computed has not been passed
        return Refused(CHECK_FAILED, f"{reason}: {error!r}")


def _wish(given: CheckInput) -> Wish:
    intent = given.intent
    if given.changed is not None:
        return _changed(given.changed, _replace(intent))
    if intent.kind != SIGNAL_CLOSE:
        terms = Terms(
            intent.limit_price, intent.stop_price, intent.trail, intent.stop_loss, intent.take_profit,
            intent.time_in_force, intent.expire_us, intent.oco,
        )  # fmt: skip
        return Wish(intent.side, intent.order_type, intent.quantity, terms, False, intent.quantity)
    # What reducing orders already take must not be closed again: both could fill, and the position reverse.
    side, left = given.own.exposure.closing()
    return Wish(side, OrderType.MARKET, left, _NO_TERMS, True, left)


def _changed(target: Target, request: OrderReplace) -> Wish:
    was, place = target.place, replaced(target.place, request)
    terms = Terms(
        place.limit_price, place.stop_price, place.trail, place.stop_loss, place.take_profit, place.time_in_force,
        place.expire_us, place.oco,
    )  # fmt: skip
    growth = max(0, place.quantity - was.quantity)
    return Wish(place.side, place.order_type, growth, terms, place.reduce_only, place.quantity)


def _replace(intent: Intent) -> OrderReplace:
    return OrderReplace(
        intent.order_id, intent.strategy_id, intent.number, intent.quantity, intent.limit_price, intent.stop_price,
        intent.trail, intent.expire_us,
    )  # fmt: skip


def _place(intent: Intent, wish: Wish, order_id: int) -> OrderPlace:
    """A bracket's exits get the ids after its own, the stop loss the first (P4)."""
    terms = wish.terms
    stop_loss_id = order_id + 1 if terms.stop_loss else 0
    return OrderPlace(
        order_id=order_id,
        strategy_id=intent.strategy_id,
        signal=intent.number,
        symbol_id=intent.symbol_id,
        side=wish.side,
        order_type=wish.order_type,
        quantity=wish.quantity,
        limit_price=terms.limit_price,
        stop_price=terms.stop_price,
        time_in_force=terms.time_in_force,
        stop_loss=terms.stop_loss,
        take_profit=terms.take_profit,
        stop_loss_order_id=stop_loss_id,
        take_profit_order_id=max(order_id, stop_loss_id) + 1 if terms.take_profit else 0,
        reduce_only=wish.reduce_only,
        market_epoch=intent.market_epoch,
        market_position=intent.market_position,
        trail=terms.trail,
        expire_us=terms.expire_us,
        oco=terms.oco,
    )


def _halted(given: CheckInput, wish: Wish) -> str | None:
    return "trading is halted" if given.halted or given.mode == TradingMode.HALTED else None


def _disk_nearly_full(given: CheckInput, wish: Wish) -> str | None:
    """What reduces a position still passes, and with cancels and fills has what room there is."""
    target = given.changed
    if target is not None and wish.whole < target.place.quantity:
        return None
    if not given.disk_low or given.engine.exposure.reduces(wish.side, wish.quantity):
        return None
    return "the journal's disk is nearly full: only cancels, and what reduces a position or an order"


def _unknown_symbol(given: CheckInput, wish: Wish) -> str | None:
    return f"symbol id {given.intent.symbol_id} is not configured" if given.instrument is None else None


def _unsupported(given: CheckInput, wish: Wish) -> str | None:
    kind = given.intent.kind
    if kind in (SIGNAL_ORDER, SIGNAL_CLOSE) or given.changed is not None:
        return None
    return f"signal kind {kind}: this version takes orders, changes, cancels and closes"


def _ended(given: CheckInput, wish: Wish) -> str | None:
    target = given.changed
    if target is None or (target.is_open and not target.is_ending):
        return None
    return "it is being canceled" if target.is_open else "it has ended"


def _changing(given: CheckInput, wish: Wish) -> str | None:
    """One change at a time: of two the venue could carry out either, and what is reserved would be a guess."""
    if given.changed is None or not given.changed.is_changing:
        return None
    return "an earlier change of it has not been answered"


def _bad_change(given: CheckInput, wish: Wish) -> str | None:
    target, asked = given.changed, given.intent
    if target is None:
        return None
    fields = asked.quantity, asked.limit_price, asked.stop_price, asked.trail, asked.expire_us
    if not any(fields):
        return "nothing is to change"
    if any(field < 0 for field in fields):
        return "below 0"
    if asked.quantity and target.is_exit:
        return "the quantity of an exit follows what it protects"
    return None


def _stale(given: CheckInput, wish: Wish) -> str | None:
    limit = given.max_signal_age_us
    is_protective = given.is_close or (given.changed is not None and given.changed.place.reduce_only)
    if limit is None or is_protective or given.signal_age_us <= limit:
        return None  # not perishable (design section 2)
    return f"sent {given.signal_age_us} us ago, the limit is {limit}"


def _nothing_to_close(given: CheckInput, wish: Wish) -> str | None:
    if not given.is_close or wish.quantity > 0:
        return None
    own = given.own.exposure
    return f"position {shown(own.position)}, open buy {shown(own.open_buy)}, open sell {shown(own.open_sell)}"


def _bad_quantity(given: CheckInput, wish: Wish) -> str | None:
    if given.is_close or (given.changed is not None and not given.intent.quantity):
        return None  # what is held may be closed whole, also after lot_size has changed
    if not 0 < wish.whole <= MICROS_MAX:
        return f"quantity {shown(wish.whole)}: above 0, and at most 64 bits of millionths"
    return _off_step("quantity", wish.whole, "lot_size", given.known_instrument.lot_size)


def _bad_price(given: CheckInput, wish: Wish) -> str | None:
    """Each price is there if and only if the order's type has it, above 0, and a multiple of the tick."""
    kind, terms, tick = wish.order_type, wish.terms, given.known_instrument.tick_size
    trails = kind is OrderType.STOP and terms.trail
    for name, price, is_needed, is_allowed in (
        ("limit price", terms.limit_price, kind in _WITH_LIMIT, kind in _WITH_LIMIT),
        ("stop price", terms.stop_price, kind in _WITH_STOP and not trails, kind in _WITH_STOP),
        ("trail", terms.trail, False, kind is OrderType.STOP),
        ("stop loss", terms.stop_loss, False, True),
        ("take profit", terms.take_profit, False, True),
    ):
        if price and not is_allowed:
            named = kind.name.lower().replace("_", " ")
            return f"a {named} order with a {name} of {shown(price)}"
        if (price or is_needed) and not 0 < price <= MICROS_MAX:
            return f"{name} {shown(price)}: above 0, and at most 64 bits of millionths"
        if off := _off_step(name, price, "tick_size", tick):
            return off
    return None


def _bad_bracket(given: CheckInput, wish: Wish) -> str | None:
    """The stop loss is on the losing side of the entry, the take profit on the other; where there is no price to
    enter at, the market's is whatever lies between them."""
    terms, sign = wish.terms, wish.side.sign
    entry = terms.limit_price or terms.stop_price
    wrong = "a buy's stop loss lies below its entry and its take profit above; a sell's the other way round"
    prices = [price * sign for price in (terms.stop_loss, entry, terms.take_profit) if price]
    if any(lower >= higher for lower, higher in pairwise(prices)):
        return f"stop loss {shown(terms.stop_loss)}, take profit {shown(terms.take_profit)}: {wrong}"
    return None


def _bad_expiry(given: CheckInput, wish: Wish) -> str | None:
    """Whether its time has passed already, only the venue's clock can say."""
    is_gtd, expire_us = wish.terms.time_in_force is TimeInForce.GTD, wish.terms.expire_us
    if is_gtd and expire_us <= 0:
        return "a GTD order needs the time at which it expires"
    return f"a {wish.terms.time_in_force.name} order with a time to expire at" if expire_us and not is_gtd else None


def _off_step(name: str, value: int, step_name: str, step: int) -> str | None:
    return f"{name} {shown(value)} is no multiple of {step_name} {shown(step)}" if value % step else None


def _not_reducing(given: CheckInput, wish: Wish) -> str | None:
    """REDUCING lets through only what, with all open orders of its side filled, stays between here and flat."""
    if given.changed is not None and not wish.quantity:
        return None
    if given.mode != TradingMode.REDUCING or given.engine.exposure.reduces(wish.side, wish.quantity):
        return None
    return f"only what reduces the position of {shown(given.engine.exposure.position)}, open orders counted"


CHECKS: Final[tuple[Check, ...]] = (
    Check("trading_halted", _halted, "", "", "MiFID II RTS 6 art. 12: kill functionality"),
    Check("disk_nearly_full", _disk_nearly_full, "wal.reserve_mb", "what reduces the position",
          "orders forgotten after a failed insert (freqtrade #7184)"),
    Check("unknown_symbol", _unknown_symbol, "instruments.symbol", "", "SEC 15c3-5(c)(2)"),
    Check("unsupported", _unsupported, "", "", "no guess at what was meant"),
    Check("order_ended", _ended, "", "", "a change of what is gone"),
    Check("change_under_way", _changing, "", "", "two changes that overtake each other"),
    Check("bad_change", _bad_change, "", "", "no guess at what was meant"),
    Check("stale_signal", _stale, "risk.max_signal_age_ms", "close(), what only reduces",
          "an order for a market that is gone"),
    Check("nothing_to_close", _nothing_to_close, "", "", "a close that reverses the position"),
    Check("bad_quantity", _bad_quantity, "instruments.lot_size", "close()", "MiFID II RTS 6 art. 15"),
    Check("bad_price", _bad_price, "instruments.tick_size", "", "MiFID II RTS 6 art. 15"),
    Check("bad_bracket", _bad_bracket, "", "", "an exit that fills at once"),
    Check("bad_expiry", _bad_expiry, "", "", "an order that nobody expects to work still"),
    Check("trading_reducing", _not_reducing, "", "what reduces the position",
          "REDUCING that let one open from flat (NautilusTrader)"),
)  # fmt: skip
