"""The simulated venue's own books: every entry numbered and on disk before anybody hears of it.

Owns the venue's file and its numbering: orders have the venue's own numbers, and each belongs to a client (journal id,
order id there) or to nobody. Entries are numbered from 1 without gaps: an order that arrived, a report, a charge. What
is asked of the venue (open orders, positions, what was since) is answered from here.

Entries in the file: ENGINE_RUN [boot id, symbols]; ORDER_PLACE [journal id, order id there, ids of its exits there,
place]; ORDER_UPDATE, ADJUST and ORDER_REPLACE as records; ORDER_CANCEL [journal id, order id there, signal]: an order
(or its change) that was unknown, and is refused should it come; POSITION_OPEN [symbol id, quantity, price]: a transfer.
All are kept: it is for rehearsals, and memory grows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, cast

import msgspec

from actors.ledger import Account, apply_fill, average_price_micros
from actors.order_tracker import Advance, OrderTracker
from actors.venues import Answer, Owned
from protocol.errors import WalError
from protocol.orders import Report, Side
from protocol.records import (
    FIRST_EXTERNAL,
    NOBODY,
    EntryType,
    OrderPlace,
    OrderReplace,
    OrderUpdate,
    Record,
    decode_record,
    encode_record,
    entry_type_of,
)
from protocol.wal import WriteAheadLog

OWN_ORDER: Final = 0
"""The entry type, on the wire, of a client's own order: it need not be told what it has sent."""
Client = tuple[bytes, int]
"""(journal id, order id there)."""
Request = tuple[bytes, int, int]
"""(journal id, order id there, signal of a change, or 0: the order itself)."""
_MANUAL: Final = b""
_encode = msgspec.msgpack.encode


class Books:
    """Money in products, quantities and prices in micros. `multipliers` by symbol id.

    Raises: WalError if the file cannot be opened or written, or is of other symbols.
    """

    def __init__(self, path: Path, boot_id: bytes, symbols: Sequence[str], multipliers: Mapping[int, int]) -> None:
        self.tracker: Final = OrderTracker()
        self.account: Final = Account()
        self.venue_us = 0
        """The market's time of the newest entry that has one …"""
        self.run_venue_us = 0
        """… and since the engine was started."""
        self._multipliers = multipliers
        self._own: dict[Owned, int] = {}
        self._entries: list[tuple[EntryType, Record]] = []
        self._numbers: dict[Client, int] = {}
        self._clients: dict[int, Client] = {}
        self._barred: set[Request] = set()
        self._asked: set[tuple[int, int]] = set()
        """(number, signal) of the changes that have arrived."""
        self._boot_id, self._symbols = b"", ()
        self._log = WriteAheadLog(path)
        self._log.open()
        for entry_type, data in self._log.read_all():
            self._apply(entry_type, data)
        known = self._symbols
        if tuple(symbols)[: len(known)] != known:
            self._log.close()
            raise WalError(f"{path}: the venue's books are of {', '.join(known)}, the engine's of {', '.join(symbols)}")
        if boot_id != self._boot_id or len(symbols) > len(known):
            self._write(EntryType.ENGINE_RUN, _encode((boot_id, tuple(symbols))))

    def close(self) -> None:
        self._log.close()

    @property
    def last_seq(self) -> int:
        return len(self._entries)

    def owned_positions(self) -> Mapping[Owned, int]:
        """Signed micros by (strategy id, symbol id), as orders named them."""
        return self._own

    # What is put in.

    def has(self, request: Request) -> bool:
        """Whether the order, or the change of it, has arrived."""
        journal_id, order_id, signal = request
        number = self.number_of(journal_id, order_id)
        return number is not None and (not signal or (number, signal) in self._asked)

    def is_barred(self, request: Request) -> bool:
        return request in self._barred

    def bar(self, request: Request) -> None:
        if request not in self._barred:
            self._write(EntryType.ORDER_CANCEL, _encode(request))

    def arrive(self, client: Client | None, place: OrderPlace) -> OrderPlace:
        """A new order, under the venue's own number; None: of nobody's here."""
        number = self.tracker.next_order_id
        numbered = msgspec.structs.replace(
            place,
            order_id=number,
            stop_loss_order_id=number + 1 if place.stop_loss_order_id else 0,
            take_profit_order_id=number + 1 + bool(place.stop_loss_order_id) if place.take_profit_order_id else 0,
            protects=place.protects and FIRST_EXTERNAL + place.protects,  # a group; no order here has such a number
        )
        journal_id, order_id = client or (_MANUAL, 0)
        exits = (place.stop_loss_order_id, place.take_profit_order_id)
        self._write(EntryType.ORDER_PLACE, _encode((journal_id, order_id, exits, encode_record(numbered))))
        return numbered

    def ask(self, request: OrderReplace) -> None:
        """A change has arrived, for the order of that number."""
        self._write(EntryType.ORDER_REPLACE, encode_record(request))

    def book(self, answers: Sequence[Answer]) -> None:
        for answer in answers:
            self._write(entry_type_of(answer), encode_record(answer))

    def transfer(self, symbol_id: int, quantity: int, price: int) -> None:
        """The position changes by signed `quantity` and nobody is told: no entry has a number for it."""
        self._write(EntryType.POSITION_OPEN, _encode((symbol_id, quantity, price)))

    def _write(self, entry_type: EntryType, data: bytes) -> None:
        self._log.append(entry_type, data)
        self._apply(entry_type, data)

    def _apply(self, entry_type: EntryType, data: bytes) -> None:
        if entry_type is EntryType.ENGINE_RUN:
            self._boot_id, symbols = msgspec.msgpack.decode(data, type=tuple[bytes, tuple[str, ...]])
            self._symbols = symbols
            self.run_venue_us = 0
        elif entry_type is EntryType.ORDER_CANCEL:
            self._barred.add(msgspec.msgpack.decode(data, type=Request))
        elif entry_type is EntryType.ORDER_REPLACE:
            request = cast(OrderReplace, decode_record(entry_type, data))
            self._asked.add((request.order_id, request.signal))
            self.tracker.orders[request.order_id].replace = request
        elif entry_type is EntryType.POSITION_OPEN:
            symbol_id, quantity, price = msgspec.msgpack.decode(data, type=tuple[int, int, int])
            self._move(NOBODY, symbol_id, Side.BUY if quantity > 0 else Side.SELL, price, abs(quantity))
        elif entry_type is EntryType.ORDER_PLACE:
            self._apply_place(data)
        else:
            self._apply_report(entry_type, decode_record(entry_type, data))

    def _apply_place(self, data: bytes) -> None:
        journal_id, order_id, exits, encoded = msgspec.msgpack.decode(
            data, type=tuple[bytes, int, tuple[int, int], bytes]
        )
        place = cast(OrderPlace, decode_record(EntryType.ORDER_PLACE, encoded))
        self.tracker.add(place)
        if journal_id:
            mine = (place.stop_loss_order_id, place.take_profit_order_id)
            for number, theirs in ((place.order_id, order_id), *zip(mine, exits, strict=True)):
                if number:
                    self._numbers[journal_id, theirs] = number
                    self._clients[number] = (journal_id, theirs)
        self._entries.append((EntryType.ORDER_PLACE, place))

    def _apply_report(self, entry_type: EntryType, record: Record) -> None:
        self._entries.append((entry_type, record))
        time_us = cast(Answer, record).venue_time
        if time_us:
            self.venue_us = self.run_venue_us = time_us
        if not isinstance(record, OrderUpdate):
            return
        verdict = self.tracker.examine(record)
        if not isinstance(verdict, Advance):
            return
        order = verdict.order
        self.tracker.commit(verdict, record)
        if record.report is Report.FILL:
            self._move(order.strategy_id, order.symbol_id, order.side, record.price, record.quantity)
        owned = order.strategy_id, order.symbol_id
        self.tracker.fit_exits(*owned, self._own.get(owned, 0))

    def _move(self, who: int, symbol_id: int, side: Side, price: int, quantity: int) -> None:
        held = self.account.position(symbol_id)
        self.account.book(symbol_id, apply_fill(held, side, price, quantity, self._multipliers[symbol_id]), 0)
        self._own[who, symbol_id] = self._own.get((who, symbol_id), 0) + side.sign * quantity

    # What it says, to the client of one journal.

    def client_id(self, journal_id: bytes, number: int) -> int:
        """The order's id for that client; one that is not its own has FIRST_EXTERNAL and the venue's number."""
        owner, order_id = self._client_of(number)
        return order_id if owner == journal_id else FIRST_EXTERNAL + number

    def _client_of(self, number: int) -> Client:
        return self._clients.get(number, (_MANUAL, 0))

    def number_of(self, journal_id: bytes, order_id: int) -> int | None:
        """The other way round."""
        if order_id >= FIRST_EXTERNAL:
            number = order_id - FIRST_EXTERNAL
            return number if number in self.tracker.orders else None
        return self._numbers.get((journal_id, order_id))

    def since(self, journal_id: bytes, seq: int, most: int) -> Iterator[tuple[int, int, bytes]]:
        """(seq, entry type, record) of up to `most` entries after `seq`."""
        for number in range(max(seq, 0) + 1, min(seq + most, self.last_seq) + 1):
            yield (number, *self.entry(journal_id, number))

    def entry(self, journal_id: bytes, seq: int) -> tuple[int, bytes]:
        """(entry type, record) for that client."""
        entry_type, record = self._entries[seq - 1]
        if isinstance(record, OrderPlace):
            if self._client_of(record.order_id)[0] == journal_id:
                return OWN_ORDER, b""
            return entry_type, encode_record(self.place_for(journal_id, record))
        changes: dict[str, int] = {"venue_seq": seq}
        if isinstance(record, OrderUpdate):
            changes["order_id"] = self.client_id(journal_id, record.order_id)
        return entry_type, encode_record(msgspec.structs.replace(record, **changes))

    def place_for(self, journal_id: bytes, place: OrderPlace) -> OrderPlace:
        """The order as that client knows it; what is not its own belongs to nobody."""
        order_id = self.client_id(journal_id, place.order_id)
        ids = {
            name: self.client_id(journal_id, number)
            for name in ("stop_loss_order_id", "take_profit_order_id")
            if (number := getattr(place, name))
        }
        if order_id >= FIRST_EXTERNAL:
            ids.update(strategy_id=NOBODY, signal=0, protects=0)
        elif place.protects:
            ids["protects"] = place.protects - FIRST_EXTERNAL
        return msgspec.structs.replace(place, order_id=order_id, **ids)

    def open_orders(self, journal_id: bytes) -> tuple[tuple[bytes, int], ...]:
        """(ORDER_PLACE, filled), by the venue's numbers; a bracket's exits too."""
        return tuple(
            (encode_record(self.place_for(journal_id, order.place)), order.filled)
            for _, order in sorted(self.tracker.open_orders.items())
        )

    def positions(self) -> tuple[tuple[int, int, int], ...]:
        """(symbol id, net quantity, average price), those that are not flat."""
        return tuple(
            (symbol_id, held.quantity, average_price_micros(held, self._multipliers[symbol_id]))
            for symbol_id, held in sorted(self.account.positions.items())
            if held.quantity
        )
