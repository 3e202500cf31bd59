"""What may be asked at the desk of a simulated venue, as one line of text each. Pure.

    BUY SYMBOL QUANTITY [LIMIT] · SELL SYMBOL QUANTITY [LIMIT]     an order that did not come from the engine
    CANCEL NUMBER                                                  of an order, by the venue's own number
    TRANSFER SYMBOL QUANTITY PRICE                                 the position changes, and nobody is told
    CUT SECONDS                                                    the line is cut for so long
    MUTE SECONDS                                                   the venue hears, and is not heard
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from protocol.errors import NotRepresentableError, SeawallError
from protocol.orders import OrderType, Side
from protocol.records import NOBODY, OrderPlace
from protocol.units import decimal_to_micros

REQUEST_BYTES_MAX: Final = 1_000
CUT_MAX_S: Final = 3_600


class DeskError(SeawallError):
    """A request that is none."""


class ManualOrder(NamedTuple):
    place: OrderPlace
    """Its id is the venue's to give."""


class ManualCancel(NamedTuple):
    number: int


class Transfer(NamedTuple):
    symbol_id: int
    quantity: int
    price: int


class Cut(NamedTuple):
    seconds: float
    is_deaf: bool
    """The venue hears nothing either."""


def read_request(data: bytes, symbols: Sequence[str]) -> ManualOrder | ManualCancel | Transfer | Cut:
    """Raises: DeskError, which says what is allowed."""
    words = data[:REQUEST_BYTES_MAX].decode("utf-8", "replace").split()
    try:
        match words:
            case ["BUY" | "SELL" as verb, symbol, quantity, *limit] if len(limit) <= 1:
                return ManualOrder(_place(verb, symbols.index(symbol), quantity, limit))
            case ["CANCEL", number]:
                return ManualCancel(int(number))
            case ["TRANSFER", symbol, quantity, price]:
                return Transfer(symbols.index(symbol), _nonzero(quantity), _positive(price))
            case ["CUT" | "MUTE" as verb, seconds] if 0 <= float(seconds) <= CUT_MAX_S:
                return Cut(float(seconds), verb == "CUT")
    except (ValueError, ArithmeticError, NotRepresentableError) as error:
        raise DeskError(f"{' '.join(words)!r}: {error}") from error
    raise DeskError(f"{' '.join(words)!r}: BUY | SELL SYMBOL QUANTITY [LIMIT], CANCEL NUMBER, "
                    f"TRANSFER SYMBOL QUANTITY PRICE, CUT | MUTE SECONDS (0 to {CUT_MAX_S})")  # fmt: skip


def _place(verb: str, symbol_id: int, quantity: str, limit: list[str]) -> OrderPlace:
    kind = OrderType.LIMIT if limit else OrderType.MARKET
    price = _positive(limit[0]) if limit else 0
    side = Side.BUY if verb == "BUY" else Side.SELL
    return OrderPlace(0, NOBODY, 0, symbol_id, side, kind, _positive(quantity), limit_price=price)


def _positive(text: str) -> int:
    if (micros := decimal_to_micros(text)) <= 0:
        raise ValueError(f"{text} is not above 0")
    return micros


def _nonzero(text: str) -> int:
    if not (micros := decimal_to_micros(text)):
        raise ValueError("0 is no change")
    return micros
