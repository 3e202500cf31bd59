"""Which class each child runs, by its name and the kind of engine."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

from protocol.settings import Config

if TYPE_CHECKING:
    from actors.base import Actor

ACTORS: Final = {
    "wal": "actors.wal:Wal",
    "risk": "actors.risk:Risk",
    "strategy": "actors.strategy:StrategyActor",
    "venue": "actors.simulated_venue:SimulatedVenue",
    "order_routing": "actors.order_routing:OrderRouting",
    "gateway": "actors.gateway:Gateway",
    "market_data": "actors.market_data:MarketData",
}
"""Child name, up to its first dot -> the class that it runs."""
REPLAY_ACTORS: Final = {
    **ACTORS,
    "wal": "actors.replay_wal:ReplayWal",
    "risk": "actors.replay_risk:ReplayRisk",
    "strategy": "actors.replay_strategy:ReplayStrategy",
    "order_routing": "actors.replay_routing:ReplayRouting",
}
"""The same in a replay: those who stand in the ring."""
EXTERNAL_ACTORS: Final = {**ACTORS, "order_routing": "actors.venue_routing:VenueRouting"}
"""The same with the venue outside."""


def actor_class(name: str, config: Config) -> type[Actor]:
    actors = REPLAY_ACTORS if config.is_replay else EXTERNAL_ACTORS if config.order_routing.is_external else ACTORS
    module, _, attribute = actors[name.partition(".")[0]].partition(":")
    return getattr(importlib.import_module(module), attribute)
