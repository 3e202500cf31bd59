"""The reserve on the journal's disk: when the alarm begins and ends, when it is given up, and what passes meanwhile."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from houses import House, house_config
from streams import Clock, Peer, WalUnderTest, Wire, notes_payload, open_wire, until
from structlog.testing import capture_logs

from actors.strategies import OrderInfo, Strategy
from protocol.messages import Children, ChildState, Data, Welcome
from protocol.records import OrderPlace, Producer, SignalRefused
from protocol.settings import WalSettings
from protocol.wal.reserve import LOOK_EVERY_S, MAKE_EVERY_S, NEAR_BYTES, DiskReserve, DiskState

R = 1 << 20
OK, LOW, SPENT = DiskState.OK, DiskState.LOW, DiskState.SPENT


class Disk:
    """A disk with `room` for the journal and the reserve together."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room = 100 * R
        monkeypatch.setattr(DiskReserve, "_free", self.free_beside)

    def free_beside(self, reserve: DiskReserve) -> int:
        return self.room - (reserve.reserve_bytes if reserve.path.exists() else 0)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk(monkeypatch)
    monkeypatch.setattr(DiskReserve, "_free", lambda reserve: made.free_beside(reserve))
    return made


def opened(directory: Path, reserve_bytes: int = R) -> DiskReserve:
    reserve = DiskReserve(directory, reserve_bytes)
    reserve.open(0.0)
    return reserve


STEPS: list[tuple[str, int, int, DiskState, bool]] = [
    ("all is well", 100 * R, 0, OK, True),
    ("as much again is free", 2 * R, 0, OK, True),
    ("a byte less", 2 * R - 1, 0, LOW, True),
    ("a little more is not enough to end the alarm", 2 * R + R // 2 - 1, 0, LOW, True),
    ("half as much again is", 2 * R + R // 2, 0, OK, True),
    ("an eighth is left", R + R // 8, 0, LOW, True),
    ("which what is about to be written would not leave", R + R // 8, 1, SPENT, False),
    ("given up, its room is the journal's", R + R // 4 - 1, 0, SPENT, False),
    ("nothing at all is left", 0, 0, SPENT, False),
    ("there is room for it again, but for little else", R + R // 4, 0, LOW, True),
    ("an eighth is not left", R + R // 8 - 1, 0, SPENT, False),
    ("somebody has made room", 100 * R, 0, OK, True),
]
"""What happened; room on the disk, what is about to be written; the state, and whether the reserve is held."""


def test_each_state_begins_and_ends_at_its_boundary_and_not_at_the_same(tmp_path: Path, disk: Disk) -> None:
    reserve = opened(tmp_path)
    before = OK
    for number, (what, room, about_to_write, state, is_held) in enumerate(STEPS, 1):
        disk.room = room
        changed = reserve.look(number * MAKE_EVERY_S, about_to_write)
        assert (reserve.state, reserve.path.exists(), changed) == (state, is_held, state is not before), what
        assert reserve.is_low == (state is not OK)
        assert reserve.free_bytes == room - (R if is_held else 0)
        before = state


@pytest.mark.parametrize(
    ("room", "state"), [(2 * R, OK), (2 * R - 1, LOW), (R + R // 4, LOW), (R + R // 4 - 1, SPENT), (0, SPENT)]
)
def test_a_start_on_a_small_disk_comes_up_in_the_state_that_it_finds(
    tmp_path: Path, disk: Disk, room: int, state: DiskState
) -> None:
    disk.room = room
    assert opened(tmp_path).state is state


def test_the_reserve_holds_its_blocks_and_is_private(tmp_path: Path) -> None:
    reserve = opened(tmp_path)
    status = reserve.path.stat()
    assert (status.st_size, status.st_mode & 0o777) == (R, 0o600)
    assert status.st_blocks * 512 >= R


def test_what_an_earlier_life_left_is_taken_over(tmp_path: Path) -> None:
    first = opened(tmp_path).path.stat().st_ino
    again = opened(tmp_path)
    assert (again.path.stat().st_ino, again.state) == (first, OK)


def test_a_leftover_on_a_full_disk_is_given_up_before_anything_is_written(tmp_path: Path, disk: Disk) -> None:
    opened(tmp_path)
    disk.room = R + R // 2
    reserve = DiskReserve(tmp_path, R)
    reserve.open(0.0, about_to_write=R)
    assert (reserve.state, reserve.path.exists(), reserve.free_bytes) == (SPENT, False, R + R // 2)


def test_a_leftover_of_another_size_or_without_blocks_is_made_anew(tmp_path: Path) -> None:
    path = opened(tmp_path, 2 * R).path
    assert opened(tmp_path).path.stat().st_size == R
    path.unlink()
    with open(path, "wb") as file:
        file.truncate(R)  # as a copy of the run_dir may leave it: a hole
    assert opened(tmp_path).path.stat().st_blocks * 512 >= R


def test_without_a_reserve_there_is_no_file_and_no_alarm(tmp_path: Path, disk: Disk) -> None:
    opened(tmp_path)
    disk.room = 0
    reserve = opened(tmp_path, 0)
    assert (reserve.state, reserve.path.exists(), reserve.is_due(1e9), reserve.look(1e9)) == (OK, False, False, False)


def test_where_the_disk_refuses_the_reserve_it_counts_as_spent_and_is_tried_again_in_a_while(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under a quota, of which statvfs knows nothing."""
    tries: list[int] = []

    def refuse(descriptor: int, offset: int, size: int) -> None:
        tries.append(size)
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", refuse)
        reserve = opened(tmp_path)
        for now_s in (0.0, MAKE_EVERY_S / 2, MAKE_EVERY_S):
            reserve.look(now_s)
        assert (tries, reserve.state, reserve.path.exists()) == ([R, R], SPENT, False)
    assert reserve.look(2 * MAKE_EVERY_S)
    assert reserve.state is OK


def test_a_disk_that_cannot_say_what_is_free_counts_as_full(tmp_path: Path) -> None:
    assert opened(tmp_path / "gone").state is SPENT


def test_it_looks_once_in_a_while_and_before_every_write_when_there_is_little(tmp_path: Path, disk: Disk) -> None:
    disk.room = R + NEAR_BYTES
    reserve = opened(tmp_path)
    assert [reserve.is_due(LOOK_EVERY_S * part) for part in (0.0, 0.9, 1.0)] == [False, False, True]
    for room in (R + NEAR_BYTES - 1, R):
        disk.room = room
        reserve.look(1.0)
        assert reserve.is_due(1.0)


# wal tells.


@pytest.fixture
def wire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    with open_wire("inproc", tmp_path) as made:
        yield made


def test_wal_tells_every_consumer_at_once_and_says_each_change_in_one_line(
    wire: Wire, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    wal = WalUnderTest(wire, reserve_bytes=R).begin()
    risk, reader = Peer(wire, "risk", producer=Producer.RISK), Peer(wire, "reader")
    for peer in (risk, reader):
        peer.hello()
        until(lambda peer=peer: peer.of(Welcome) and peer.of(Data), wal.turn)
    assert not any(data.disk_low for peer in (risk, reader) for data in peer.of(Data))
    wal.actor.log = wal.actor.log.bind()
    with capture_logs() as logs:
        for room, low in ((2 * R - 1, True), (R, True), (100 * R, False)):
            disk.room = room
            for _ in range(3):  # at the next look, and without anything to write
                clock.advance(MAKE_EVERY_S)
                wal.turn()
            until(lambda low=low: all(peer.of(Data)[-1].disk_low == low for peer in (risk, reader)), wal.turn)
            assert wal.actor.statistics().counters["disk_low"] == int(low)
            assert wal.actor.statistics().counters["disk_free_mb"] == wal.actor.reserve.free_bytes // R
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("disk_nearly_full", "error"), ("disk_reserve_spent", "error"), ("disk_has_room_again", "info"),
    ]  # fmt: skip
    # In MB, rounded against the operator: what is free down, what is wanted up.
    assert [(line["free_mb"], line["wanted_mb"], line["reserve_mb"]) for line in logs] == [
        (0, 2, 1), (1, 3, 1), (99, 1, 1),
    ]  # fmt: skip
    wal.die()


def test_data_with_records_says_so_too_and_what_does_not_fit_beside_the_reserve_spends_it_first(
    wire: Wire, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    Clock(monkeypatch)
    disk.room = R + R // 8 + 100
    wal = WalUnderTest(wire, reserve_bytes=R).begin()
    assert wal.actor.reserve.state is SPENT, "no room to make it"
    disk.room = 2 * R - 1
    wal.actor.reserve.open(0.0)
    assert wal.actor.reserve.state is LOW
    peer = Peer(wire, "risk", producer=Producer.RISK)
    peer.hello()
    until(lambda: peer.of(Welcome), wal.turn)
    disk.room = R + R // 8 + 100
    held_at_write: list[bool] = []
    write = wal.journal.append_batch
    monkeypatch.setattr(
        wal.journal, "append_batch", lambda batch: (held_at_write.append(wal.actor.reserve.path.exists()), write(batch))
    )
    for number, size in ((1, 1), (2, 200)):
        peer.append(number, notes_payload([number] * size), size)
        until(lambda number=number: len(held_at_write) == number, wal.turn)
    until(lambda: len(peer.chunks()) >= 3, wal.turn)
    assert held_at_write == [True, False]
    assert all(data.disk_low for data in peer.chunks()[1:])
    wal.die()


# What passes, and what does not.


class Heard(Strategy):
    def __init__(self) -> None:
        self.heard: list[OrderInfo] = []

    def on_order(self, order: OrderInfo) -> None:
        self.heard.append(order)


@pytest.fixture
def house(tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    config = house_config(tmp_path / "run", f"{__name__}:Heard", "[market_data]\nrate = 1000\n")
    with House(msgspec.structs.replace(config, wal=WalSettings(reserve_mb=1)), monkeypatch) as made:
        made.start("wal", "risk", "strategy.one", "order_routing", "gateway", "market_data")
        yield made


def fill_disk(house: House, disk: Disk, room: int = 2 * R - 1) -> None:
    disk.room = room
    low = room < 2 * R
    house.until(
        lambda: all(house.actors[name].journal.disk_low == low for name in ("risk", "strategy.one")), "the alarm"
    )


def placed(house: House) -> list[OrderPlace]:
    return [record for record in house.records() if isinstance(record, OrderPlace)]


def refused(house: House) -> list[SignalRefused]:
    return [record for record in house.records() if isinstance(record, SignalRefused)]


def heard(house: House, signal: Any) -> list[tuple[str, str]]:
    told = house.actors["strategy.one"].strategy.heard
    return [(order.status, order.reason.partition(":")[0]) for order in told if order.signal == signal.number]


def test_cancels_fills_and_reductions_pass_and_new_orders_are_refused_until_there_is_room(
    house: House, disk: Disk
) -> None:
    strategy = house.actors["strategy.one"].strategy
    strategy.buy("EURUSD", 300)
    resting = strategy.buy("EURUSD", 5, limit=0.5)
    house.until(lambda: strategy.position("EURUSD").quantity == 300 and resting.order_id, "a position and an order")
    fill_disk(house, disk)
    before = len(placed(house))

    new = strategy.buy("EURUSD", 10)
    house.until(lambda: heard(house, new), "the refusal")
    assert heard(house, new) == [("Rejected", "disk_nearly_full")]
    assert (len(placed(house)), refused(house)) == (before, []), "said where it was asked, without a record"

    through_zero = strategy.sell("EURUSD", 301)
    house.until(lambda: heard(house, through_zero), "the refusal")
    assert [(record.signal, record.reason) for record in refused(house)] == [(through_zero.number, "disk_nearly_full")]

    strategy.sell("EURUSD", 100)
    house.until(lambda: strategy.position("EURUSD").quantity == 200, "the fill of what reduces")
    strategy.cancel(resting)
    house.until(lambda: ("Canceled", "") in heard(house, resting), "the cancel")
    strategy.close("EURUSD")
    house.until(lambda: strategy.position("EURUSD").quantity == 0, "the fill of the close")

    fill_disk(house, disk, 100 * R)
    strategy.buy("EURUSD", 10)
    house.until(lambda: strategy.position("EURUSD").quantity == 10, "an order like any other")


def test_health_says_that_the_disk_is_low_and_what_is_refused_for_it(house: House, disk: Disk) -> None:
    gateway, strategy = house.actors["gateway"], house.actors["strategy.one"].strategy
    health = gateway.answers.health()
    assert (health.disk_low, health.warnings) == (False, [])
    fill_disk(house, disk)
    house.until(lambda: gateway.journal.disk_low, "the alarm at the gateway")
    strategy.buy("EURUSD", 10)
    gateway.children = Children(tuple(told_of(house, name) for name in ("wal", "strategy.one")))
    health = gateway.answers.health()
    assert (health.disk_low, health.warnings) == (True, [
        "the journal's disk is nearly full (0 MB free, 2 MB wanted): new orders are refused (1 so far); "
        "cancels, reductions and fills go on"
    ])  # fmt: skip


def told_of(house: House, name: str) -> ChildState:
    """As the supervisor says it, of a child that has just told its statistics."""
    counters = house.actors[name].statistics().counters
    return ChildState(name, "ready", 1, 1, 0, 0.0, 0, 0, 0, counters)


def test_a_wal_that_comes_back_says_it_again(house: House, disk: Disk) -> None:
    fill_disk(house, disk)
    house.kill("wal")
    disk.room = 100 * R
    house.start("wal")
    house.until(lambda: not house.actors["risk"].journal.disk_low, "the end of the alarm")
