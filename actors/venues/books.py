"""The simulated venue's own books: every entry numbered and on disk before anybody hears of it.

Owns the venue's file and its numbering: orders have the venue's own numbers, and each belongs to a client (journal id,
order id there) or to nobody. Entries are numbered without gaps: an order that arrived, a report, a charge. The first
number is the microsecond in which the books were begun, so no two books have one in common. What is asked of the venue
(open orders, positions, what was since) is answered from here.

One client trades at a time. What others have traded counts as nobody's for as long as it does: their orders and
positions can be closed by it, and are theirs again when they come back.

Entries in the file: ENGINE_RUN [base, boot id, symbols, client]; ORDER_PLACE [journal id, the order as it came];
ORDER_UPDATE, ADJUST and ORDER_REPLACE as records; ORDER_CANCEL [journal id, order id there, signal]: an order (or its
change) that was unknown, and is refused should it come; POSITION_OPEN [symbol id, quantity, price]: a transfer. All are
kept: it is for rehearsals, and memory grows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, cast

import msgspec

from actors.ledger import Account, FillEffect, apply_fill, average_price_micros
from actors.order_tracker import Advance, OrderTracker
from actors.venues import Answer, Owned
from protocol.errors import NotRepresentableError, WalError, WireError
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
from protocol.units import MICROS_MAX
from protocol.wal import WriteAheadLog

OWN_ORDER: Final = 0
"""The entry type, on the wire, of a client's own order: it is told the id, and knows what it has sent."""
Client = tuple[bytes, int]
"""(journal id, order id there)."""
Request = tuple[bytes, int, int]
"""(journal id, order id there, signal of a change, or 0: the order itself)."""
MANUAL: Final = b""
"""The journal id of what came from the desk."""
_encode = msgspec.msgpack.encode


class _Origin(NamedTuple):
    """Whose an order is, and how it came; of a bracket's exit, how it would have."""

    journal_id: bytes
    place: OrderPlace
    group: int = 0
    """Of a position's exit: the number of those that protect it."""


class Books:
    """Money in products, quantities and prices in micros. `multipliers` by symbol id. `now_us`: new books begin.

    Raises: WalError if the file cannot be opened or written, is no such books, or is of other symbols.
    """

    def __init__(
        self, path: Path, boot_id: bytes, symbols: Sequence[str], multipliers: Mapping[int, int], now_us: int
    ) -> None:
        self.tracker: Final = OrderTracker()
        self.account: Final = Account()
        self.venue_us = 0
        """The market's time of the newest entry that has one …"""
        self.run_venue_us = 0
        """… and since the engine was started."""
        self.base_seq = now_us
        """The number before the first entry's."""
        self.client = MANUAL
        """The journal id of whom the last session was with."""
        self._multipliers = multipliers
        self._traded: defaultdict[tuple[bytes, int, int], int] = defaultdict(int)
        """Signed micros by (journal id, strategy id there, symbol id)."""
        self._entries: list[tuple[EntryType, Record]] = []
        self._numbers: dict[Client, int] = {}
        self._origins: dict[int, _Origin] = {}
        self._groups: dict[tuple[bytes, int, int], int] = {}
        """The venue's number of an OCO group or of a position's exits, by (journal id, strategy id, number there)."""
        self._barred: set[Request] = set()
        self._asked: set[tuple[int, int]] = set()
        """(number, signal) of the changes that have arrived."""
        self._boot_id, self._symbols = b"", ()
        self._log = WriteAheadLog(path)
        self._log.open()
        try:
            self._read(path, tuple(symbols))
        except BaseException:
            self._log.close()
            raise
        if boot_id != self._boot_id or len(symbols) > len(self._symbols):
            self._begin(boot_id, tuple(symbols), self.client)

    def _read(self, path: Path, symbols: tuple[str, ...]) -> None:
        try:
            for entry_type, data in self._log.read_all():
                self._apply(entry_type, data)
        except (WireError, msgspec.MsgspecError, LookupError, NotRepresentableError) as error:
            hint = "another version wrote them, perhaps; a new run_dir begins new ones"
            raise WalError(f"{path}: no venue's books: {error!r} behind entry {self.last_seq}; {hint}") from error
        known = self._symbols
        if symbols[: len(known)] != known:
            raise WalError(f"{path}: the venue's books are of {', '.join(known)}, the engine's of {', '.join(symbols)}")

    def _begin(self, boot_id: bytes, symbols: tuple[str, ...], client: bytes) -> None:
        self._write(EntryType.ENGINE_RUN, _encode((self.base_seq, boot_id, symbols, client)))

    def close(self) -> None:
        self._log.close()

    @property
    def last_seq(self) -> int:
        return self.base_seq + len(self._entries)

    def owned_positions(self) -> Mapping[Owned, int]:
        """Signed micros by (strategy id, symbol id): the present client's own, and nobody's, which is the rest."""
        own: defaultdict[Owned, int] = defaultdict(int)
        for (journal_id, strategy_id, symbol_id), quantity in self._traded.items():
            own[strategy_id if journal_id == self.client else NOBODY, symbol_id] += quantity
        return own

    # What is put in.

    def take_client(self, journal_id: bytes) -> None:
        """The session is with this one from here on."""
        if journal_id != self.client:
            self._begin(self._boot_id, self._symbols, journal_id)

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

    def arrive(self, journal_id: bytes, place: OrderPlace) -> OrderPlace:
        """A new order, under the venue's own number."""
        number = self.tracker.next_order_id
        self._write(EntryType.ORDER_PLACE, _encode((journal_id, encode_record(place))))
        return self.tracker.orders[number].place

    def ask(self, request: OrderReplace) -> None:
        """A change has arrived, for the order of that number."""
        self._write(EntryType.ORDER_REPLACE, encode_record(request))

    def book(self, answers: Sequence[Answer]) -> None:
        """Raises: NotRepresentableError for a fill that no record could hold; it is not written."""
        for answer in answers:
            if isinstance(answer, OrderUpdate) and answer.report is Report.FILL:
                order = self.tracker.orders[answer.order_id]
                self._effect(order.symbol_id, order.side, answer.price, answer.quantity)
            self._write(entry_type_of(answer), encode_record(answer))

    def transfer(self, symbol_id: int, quantity: int, price: int) -> None:
        """The position changes by signed `quantity` and nobody is told: no entry has a number for it.

        Raises: NotRepresentableError; nothing is written.
        """
        self._effect(symbol_id, _side_of(quantity), price, abs(quantity))
        self._write(EntryType.POSITION_OPEN, _encode((symbol_id, quantity, price)))

    def may_hold(self, place: OrderPlace) -> bool:
        """Whether the position could be represented if everything of its side filled."""
        open_quantities = self.tracker.open_quantities(place.symbol_id)[place.side is Side.SELL]
        held = self.account.position(place.symbol_id).quantity * place.side.sign
        return held + open_quantities + place.quantity <= MICROS_MAX

    def _write(self, entry_type: EntryType, data: bytes) -> None:
        self._log.append(entry_type, data)
        self._apply(entry_type, data)

    def _apply(self, entry_type: EntryType, data: bytes) -> None:
        if entry_type is EntryType.ENGINE_RUN:
            self._apply_run(data)
        elif entry_type is EntryType.ORDER_CANCEL:
            self._barred.add(msgspec.msgpack.decode(data, type=Request))
        elif entry_type is EntryType.ORDER_REPLACE:
            request = cast(OrderReplace, decode_record(entry_type, data))
            self._asked.add((request.order_id, request.signal))
            self.tracker.orders[request.order_id].replace = request
        elif entry_type is EntryType.POSITION_OPEN:
            symbol_id, quantity, price = msgspec.msgpack.decode(data, type=tuple[int, int, int])
            self._move(MANUAL, NOBODY, symbol_id, _side_of(quantity), price, abs(quantity))
        elif entry_type is EntryType.ORDER_PLACE:
            self._apply_place(data)
        else:
            report = decode_record(entry_type, data)
            if not isinstance(report, Answer):
                raise WireError(f"an entry of type {entry_type}: none of a venue's books")
            self._apply_report(entry_type, report)

    def _apply_run(self, data: bytes) -> None:
        kind = tuple[int, bytes, tuple[str, ...], bytes]
        self.base_seq, boot_id, self._symbols, client = msgspec.msgpack.decode(data, type=kind)
        if boot_id != self._boot_id:
            self._boot_id, self.run_venue_us = boot_id, 0
        self.client = client
        for order in list(self.tracker.open_orders.values()):
            self.tracker.give(order, *self._owner(order.order_id))
        for owned, quantity in self.owned_positions().items():
            self.tracker.fit_exits(*owned, quantity)

    def _owner(self, number: int) -> tuple[int, int]:
        """(strategy, the group of its position's exits) as the present client sees it: what is another's is nobody's,
        and only reduces."""
        origin = self._origins[number]
        if origin.journal_id != self.client:
            return NOBODY, 0
        return origin.place.strategy_id, origin.group

    def _apply_place(self, data: bytes) -> None:
        journal_id, encoded = msgspec.msgpack.decode(data, type=tuple[bytes, bytes])
        place = cast(OrderPlace, decode_record(EntryType.ORDER_PLACE, encoded))
        number = self.tracker.next_order_id
        oco, group = self._groups_of(journal_id, number, place)
        self._origins[number] = _Origin(journal_id, place, group)
        self._numbers[journal_id, place.order_id] = number
        own_exits: list[int] = []
        for order_id in (place.stop_loss_order_id, place.take_profit_order_id):
            own_exits.append(number + 1 + sum(map(bool, own_exits)) if order_id else 0)
            if order_id:
                made = msgspec.structs.replace(place, order_id=order_id, oco=0, protects=0)
                self._origins[own_exits[-1]] = _Origin(journal_id, made)
                self._numbers[journal_id, order_id] = own_exits[-1]
        strategy_id, protects = self._owner(number)
        numbered = msgspec.structs.replace(
            place, order_id=number, strategy_id=strategy_id, signal=number, oco=oco, protects=protects,
            stop_loss_order_id=own_exits[0], take_profit_order_id=own_exits[1],
        )  # fmt: skip
        self.tracker.add(numbered)
        self._entries.append((EntryType.ORDER_PLACE, numbered))

    def _groups_of(self, journal_id: bytes, number: int, place: OrderPlace) -> tuple[int, int]:
        """Its OCO group and that of its position's exits, by numbers of the venue's: signals of two strategies, or of
        two clients, are no one group. 0: none."""
        who, groups = (journal_id, place.strategy_id), self._groups
        if place.signal:
            groups[*who, place.signal] = number
        exits = FIRST_EXTERNAL + place.protects  # where no signal has its number; nor has an order that of the group
        group = FIRST_EXTERNAL + groups.setdefault((*who, exits), number) if place.protects else 0
        return groups.get((*who, place.oco), number) if place.oco else 0, group

    def _apply_report(self, entry_type: EntryType, record: Answer) -> None:
        self._entries.append((entry_type, record))
        if time_us := record.venue_time:
            self.venue_us = self.run_venue_us = time_us
        if not isinstance(record, OrderUpdate):
            return
        verdict = self.tracker.examine(record)
        if not isinstance(verdict, Advance):
            return
        order = verdict.order
        self.tracker.commit(verdict, record)
        if record.report is Report.FILL:
            origin = self._origins[order.order_id]
            who = origin.journal_id, origin.place.strategy_id
            self._move(*who, order.symbol_id, order.side, record.price, record.quantity)
        owned = order.strategy_id, order.symbol_id
        self.tracker.fit_exits(*owned, self.owned_positions().get(owned, 0))

    def _move(
        self, journal_id: bytes, strategy_id: int, symbol_id: int, side: Side, price: int, quantity: int
    ) -> None:
        self.account.book(symbol_id, self._effect(symbol_id, side, price, quantity), 0)
        self._traded[journal_id, strategy_id, symbol_id] += side.sign * quantity

    def _effect(self, symbol_id: int, side: Side, price: int, quantity: int) -> FillEffect:
        return apply_fill(self.account.position(symbol_id), side, price, quantity, self._multipliers[symbol_id])

    # What it says, to the client of one journal.

    def client_id(self, journal_id: bytes, number: int) -> int:
        """The order's id for that client; one that is not its own has FIRST_EXTERNAL and the venue's number."""
        origin = self._origins.get(number)
        if origin is None or origin.journal_id != journal_id:
            return FIRST_EXTERNAL + number
        return origin.place.order_id

    def number_of(self, journal_id: bytes, order_id: int) -> int | None:
        """The other way round."""
        if order_id >= FIRST_EXTERNAL:
            number = order_id - FIRST_EXTERNAL
            return number if number in self.tracker.orders else None
        return self._numbers.get((journal_id, order_id))

    def since(self, journal_id: bytes, seq: int, most: int) -> Iterator[tuple[int, int, bytes]]:
        """(seq, entry type, record) of up to `most` entries after `seq`."""
        first = max(seq, self.base_seq) + 1
        for number in range(first, min(first + most - 1, self.last_seq) + 1):
            yield (number, *self.entry(journal_id, number))

    def entry(self, journal_id: bytes, seq: int) -> tuple[int, bytes]:
        """(entry type, record) for that client."""
        entry_type, record = self._entries[seq - self.base_seq - 1]
        if isinstance(record, OrderPlace):
            place = self.place_for(journal_id, record)
            if place.order_id < FIRST_EXTERNAL:
                return OWN_ORDER, _encode(place.order_id)
            return entry_type, encode_record(place)
        changes: dict[str, int] = {"venue_seq": seq}
        if isinstance(record, OrderUpdate):
            changes["order_id"] = self.client_id(journal_id, record.order_id)
        return entry_type, encode_record(msgspec.structs.replace(record, **changes))

    def place_for(self, journal_id: bytes, place: OrderPlace) -> OrderPlace:
        """The order as that client knows it; what is not its own belongs to nobody."""
        ids = {
            name: self.client_id(journal_id, number)
            for name in ("order_id", "stop_loss_order_id", "take_profit_order_id")
            if (number := getattr(place, name))
        }
        origin = self._origins[place.order_id]
        if origin.journal_id != journal_id:
            return msgspec.structs.replace(place, strategy_id=NOBODY, signal=0, oco=0, protects=0, **ids)
        came = origin.place
        return msgspec.structs.replace(
            place, strategy_id=came.strategy_id, signal=came.signal, oco=came.oco, protects=came.protects, **ids
        )

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


def _side_of(quantity: int) -> Side:
    return Side.BUY if quantity > 0 else Side.SELL
