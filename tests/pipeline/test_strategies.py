"""A strategy of the user's own, from a module in the working directory: every call, every answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness import EngineUnderTest, config_tree, sma_cross, wait_for
from own_files import OWN_FILES, own, seen


@pytest.fixture(scope="module")
def toured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineUnderTest]:
    """An engine whose strategy has used every call once, each when the one before was answered."""
    tree = config_tree(strategies=[own("Tour")])
    with EngineUnderTest(tmp_path_factory.mktemp("tour"), tree, files=OWN_FILES) as engine:
        wait_for(lambda: seen(engine, "tour_done"), "the end of the tour")
        yield engine


def lives(engine: EngineUnderTest, name: str) -> list[str]:
    return [event["status"] for event in seen(engine, "on_order") if event["name"] == name]


def test_on_order_tells_every_step_of_an_orders_life(toured: EngineUnderTest) -> None:
    assert lives(toured, "far") == ["New", "Accepted", "Canceled"]
    assert lives(toured, "near") == ["New", "Accepted", "Filled"]
    assert lives(toured, "closing") == ["New", "Accepted", "Filled"]


def test_orders_lists_what_is_open_and_every_calls_its_hook(toured: EngineUnderTest) -> None:
    found = seen(toured, "orders")
    assert len(found) == 1
    assert found[0]["ids"] == [found[0]["far"]] == [1]
    assert len(seen(toured, "on_timer")) == 1


def test_a_limit_order_fills_at_its_limit_or_better_and_close_makes_flat(toured: EngineUnderTest) -> None:
    limit = seen(toured, "orders")[0]["limit"]
    near, closing = seen(toured, "on_fill")
    assert (near["side"], near["quantity"]) == ("Buy", 100.0)
    assert near["price"] <= limit
    assert (closing["side"], closing["quantity"]) == ("Sell", 100.0)
    held, flat = seen(toured, "on_position")
    assert (held["quantity"], flat["quantity"]) == (100.0, 0.0)
    assert flat["realized"] == pytest.approx((closing["price"] - near["price"]) * 100, abs=1e-9)
    assert toured.status_positions() == toured.independent_positions()


def test_the_close_is_recorded_as_reduce_only_and_the_cancel_as_the_strategys(toured: EngineUnderTest) -> None:
    assert [entry.fields["by"] for entry in toured.records("ORDER_CANCEL")] == ["strategy"]
    assert [entry.fields["order_type"] for entry in toured.records("ORDER_PLACE")] == [1, 1, 0]


def test_whatever_is_refused_the_strategy_is_told_why(toured: EngineUnderTest) -> None:
    refused = [event for event in seen(toured, "on_order") if event["status"] == "Rejected"]
    reasons = [event["reason"].partition(":")[0] for event in refused]
    assert reasons == ["bad_quantity", "max_position_per_symbol", "bad_price", "nothing_to_protect"]
    assert all(event["id"] == 0 and event["filled"] == 0.0 for event in refused)
    recorded = [entry.fields["reason"] for entry in toured.records("SIGNAL_REFUSED")]
    assert recorded == reasons


def test_a_vectorised_strategy_trades_on_a_live_feed(tmp_path_factory: pytest.TempPathFactory) -> None:
    vector = sma_cross("vector", ["EURUSD"]) | {"class": "actors.strategies.vector_cross:VectorCross"}
    with EngineUnderTest(tmp_path_factory.mktemp("vector"), config_tree(strategies=[vector])) as engine:
        wait_for(lambda: len(engine.records("POSITION_CLOSE")) >= 3, "three round trips")
        engine.assert_status_is_folded()
        assert engine.stop() == 0
