"""`python -m actors --nursery FD ENGINE`: the process of which every child is a fork, and in the fork the child's life.

`python -m actors --check` takes a config over standard input and says, one line each, what only a child can find wrong.
"""

from __future__ import annotations

import faulthandler
import os
import socket
import sys
from pathlib import Path

import msgspec
import setproctitle
import zmq

from actors import nursery
from actors.base import ChildSpec, Place
from actors.descendants import MARK_VARIABLE, mark_of
from actors.logs import configure_logging
from actors.roles import actor_class
from protocol.errors import ConfigError, DataError, ExitCode
from protocol.settings import Config, decode_config


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
    if sys.argv[1:] == ["--check"]:
        mistakes = check(decode_config(sys.stdin.buffer.read()))
        print("\n".join(mistakes))
        return ExitCode.USAGE if mistakes else ExitCode.OK
    _, _, requests, engine = sys.argv
    born = nursery.serve(socket.socket(fileno=int(requests)), engine)
    if born is None:
        os._exit(ExitCode.OK)  # whoever ends it waits for it, and an interpreter's end takes its time
    return live(*born)


def live(spec_text: bytes, lock_fd: int) -> ExitCode:
    """The life of a fork of the nursery. spec_text: a ChildSpec, but for the descriptor of the lock."""
    spec = msgspec.structs.replace(msgspec.json.decode(spec_text, type=ChildSpec), lock_fd=lock_fd)
    sys.argv[1:] = [spec.name]
    os.environ[MARK_VARIABLE] = mark_of(Path(spec.config.engine.run_dir), spec.name, spec.incarnation)
    configure_logging(spec.config.logging)
    setproctitle.setproctitle(process_title(spec))
    return run_child(spec, zmq.Context(), is_process=True)


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
