"""`python -m actors NAME`: one child. The supervisor hands its ChildSpec over standard input.

`python -m actors --check` takes a config instead and says, one line each, what only a child can find wrong.
"""

from __future__ import annotations

import faulthandler
import importlib
import os
import sys
from typing import Final

import msgspec
import zmq

from actors.base import Actor, ChildSpec, Place
from actors.logs import configure_logging
from protocol import logs
from protocol.errors import ConfigError, DataError, ExitCode
from protocol.settings import Config, decode_config

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


def run_child(spec: ChildSpec, context: zmq.Context[zmq.Socket[bytes]], *, is_process: bool) -> ExitCode:
    """The whole life of one child, in a process or in a thread."""
    actor = actor_class(spec.name, spec.config)(Place(spec, context, is_process))
    return actor.live()


def process_title(spec: ChildSpec) -> str:
    return f"seawall: {spec.name.replace('.', ' ')} [{spec.config.engine.name}]"


def check(config: Config) -> list[str]:
    """What only a child can find wrong: strategies that cannot be imported, files and keys that cannot be read."""
    from actors.market_data import check_source
    from actors.strategies.loading import load_strategy_class
    from protocol.key_files import check_keys

    mistakes: list[str] = []
    for index, strategy in enumerate(config.strategies):
        try:
            load_strategy_class(index, strategy)
        except ConfigError as error:
            mistakes += error.mistakes
    try:
        check_source(config)
    except ConfigError as error:
        mistakes += error.mistakes
    except DataError as error:
        mistakes.append(str(error))
    return mistakes + check_keys(config.gateway.curve)


def main() -> int:
    faulthandler.enable()
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    data = sys.stdin.buffer.read()
    if sys.argv[1:] == ["--check"]:
        mistakes = check(decode_config(data))
        print("\n".join(mistakes))
        return ExitCode.USAGE if mistakes else ExitCode.OK
    spec = msgspec.json.decode(data, type=ChildSpec)
    configure_logging(spec.config.logging)
    if spec.name.partition(".")[0] == "strategy":
        logs.load()  # it may fork, and a fork must not begin in the middle of an import
    import setproctitle

    setproctitle.setproctitle(process_title(spec))
    return run_child(spec, zmq.Context(), is_process=True)


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
