"""What the venue's books and the fold say differently, and the records that take it over. Pure.

Orders, then positions; the fills between have been taken before. What is not ours, at the venue, belongs to nobody and
counts for exposure. A position that no report explains is taken over as an order of nobody's that has filled, at the
venue's average price, or at our own where it takes from what we hold, so that nothing is realized by it. Its id is that
of the journal's place where it is taken over, so none comes twice, and once it is there it is the same for ever. A life
that dies within leaves an order that the venue does not have: it ends, and the next takes over what is still missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple, cast

import msgspec

from actors.fold import Fold
from actors.order_tracker import Order
from actors.venues.session import Snapshot
from protocol.conversion import PARITY, Rate
from protocol.errors import SeawallError
from protocol.orders import OrderStatus, OrderType, Report, Side
from protocol.records import (
    FIRST_EXTERNAL,
    NOBODY,
    EntryType,
    OrderPlace,
    OrderUpdate,
    Record,
    RiskViolation,
    decode_record,
)
from protocol.units import MICROS, product_to_bytes

REASON: Final = "reconciliation"
FIRST_ADOPTED: Final = FIRST_EXTERNAL + (1 << 51)
"""Order ids of positions taken over: this, the LSN and the symbol."""
NOTHING: Final = Rate(1, 1 << 62)
"""At which money of another currency is converted here: what rounding the average price leaves comes to nothing."""
_SYMBOLS_MAX: Final = 1 << 16
_ANSWERED: Final = (OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED)


class ContradictionError(SeawallError):
    """The venue's books and the journal cannot both be what they were: one is an older copy. Nothing is to be taken
    over."""


class Difference(NamedTuple):
    text: str
    symbol_id: int
    theirs: int
    """A quantity, micros."""
    ours: int
    adopted_by: tuple[Record, ...]

    @property
    def violation(self) -> RiskViolation:
        """How it stands in the journal."""
        theirs, ours = (product_to_bytes(quantity * MICROS) for quantity in (self.theirs, self.ours))
        return RiskViolation(self.symbol_id, REASON, theirs, ours)


def differences(fold: Fold, snapshot: Snapshot) -> Iterator[Difference]:
    """The fold has everything that the venue reported up to the snapshot. Raises: WireError, ContradictionError."""
    yield from _of_orders(fold, snapshot)
    yield from _of_positions(fold, snapshot)


def external(place: OrderPlace) -> Difference:
    """An order that came from elsewhere."""
    text = f"order {place.order_id} is at the venue and not from here"
    return Difference(text, place.symbol_id, place.side.sign * place.quantity, 0, (place,))


def _of_orders(fold: Fold, snapshot: Snapshot) -> Iterator[Difference]:
    theirs = {}
    for data, filled in snapshot.orders:
        place = cast(OrderPlace, decode_record(EntryType.ORDER_PLACE, data))
        theirs[place.order_id] = place, filled
    for order_id, order in list(fold.tracker.open_orders.items()):
        if order_id not in theirs and (order.status in _ANSWERED or order.is_external):
            ended = OrderUpdate(order_id, Report.CANCEL, reason="not_at_venue")
            text = f"order {order_id} is open here and not at the venue"
            yield Difference(text, order.symbol_id, 0, order.side.sign * order.remaining, (ended,))
    for order_id, (place, filled) in theirs.items():
        order, left = fold.tracker.orders.get(order_id), place.quantity - filled
        if order is None:
            # The exits of what has filled stand by themselves.
            exits = {"stop_loss_order_id": 0, "take_profit_order_id": 0} if filled else {}
            found = external(msgspec.structs.replace(place, quantity=left, **exits))
            accepted = OrderUpdate(order_id, Report.ACCEPT, reason="adopted")
            yield found._replace(adopted_by=(*found.adopted_by, accepted))
        elif order.status is OrderStatus.REJECTED:
            text = f"order {order_id} is open at the venue and {order.status.label} here"
            revived = OrderUpdate(order_id, Report.ACCEPT, reason="adopted")
            yield Difference(text, place.symbol_id, place.side.sign * left, 0, (revived,))
        elif not order.is_external:
            _check_same(order, place, left)


def _check_same(order: Order, theirs: OrderPlace, left: int) -> None:
    """Whatever was said of it has been taken. Raises: ContradictionError."""
    ours = order.remaining if order.is_open else 0
    if (ours, order.limit_price) != (left, theirs.limit_price):
        found, known = (
            f"{quantity / MICROS:g} @ {price / MICROS:g}"
            for quantity, price in ((left, theirs.limit_price), (ours, order.limit_price))
        )
        raise ContradictionError(
            f"order {order.order_id} is open at the venue for {found}; here it is {order.status.label}, with {known} "
            "left: the journal, or the venue's books, are an older copy. Put the newer one back"
        )


def _of_positions(fold: Fold, snapshot: Snapshot) -> Iterator[Difference]:
    theirs = {symbol_id: (quantity, price) for symbol_id, quantity, price in snapshot.positions}
    for symbol_id in sorted(theirs.keys() | fold.account.positions.keys()):
        quantity, price = theirs.get(symbol_id, (0, 0))
        ours = fold.position_view(symbol_id)
        if quantity == ours.quantity:
            continue
        text = f"the venue holds {quantity / MICROS:g} {fold.symbol(symbol_id)}, the journal {ours.quantity / MICROS:g}"
        change = quantity - ours.quantity
        closes = min(abs(change), abs(ours.quantity)) if change * ours.quantity < 0 else 0
        fills = ((closes, ours.average_price_micros), (abs(change) - closes, price))
        rate = NOTHING if fold.currencies[symbol_id] else PARITY
        adopted = _adopted(fold.lsn, symbol_id, Side.BUY if change > 0 else Side.SELL, fills, rate)
        yield Difference(text, symbol_id, quantity, ours.quantity, tuple(adopted))


def _adopted(
    lsn: int, symbol_id: int, side: Side, fills: tuple[tuple[int, int], ...], rate: Rate
) -> Iterator[Record]:
    """An order of nobody's and its fills: (quantity, price)."""
    order_id = FIRST_ADOPTED + lsn * _SYMBOLS_MAX + symbol_id
    quantity = sum(size for size, _ in fills)
    yield OrderPlace(order_id, NOBODY, 0, symbol_id, side, OrderType.MARKET, quantity)
    yield OrderUpdate(order_id, Report.ACCEPT, reason="adopted")
    for number, (size, price) in enumerate(fills, 1):
        if size:
            yield OrderUpdate(
                order_id, Report.FILL, f"adopted-{order_id}-{number}", max(price, 1), size,
                conversion_rate=rate.numerator, conversion_base=rate.denominator,
            )  # fmt: skip
