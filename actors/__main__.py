"""`python -m actors --nursery FD ENGINE`: the process of which every child is a fork, and in the fork the child's life.

`python -m actors --check` takes a config over standard input and says what only a child can find: config_checks.Found.
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
from protocol.errors import ExitCode
from protocol.settings import decode_config


def run_child(spec: ChildSpec, context: zmq.Context[zmq.Socket[bytes]], *, is_process: bool) -> ExitCode:
    """The whole life of one child, in a process or in a thread."""
    actor = actor_class(spec.name, spec.config)(Place(spec, context, is_process))
    return actor.live()


def process_title(spec: ChildSpec) -> str:
    return f"seawall: {spec.name.replace('.', ' ')} [{spec.config.engine.name}]"


def main() -> int:
    faulthandler.enable()
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    if sys.argv[1:] == ["--check"]:
        from actors.config_check import check  # late: the nursery and its forks have no use for it

        with os.fdopen(os.dup(1), "wb") as answer:
            os.dup2(2, 1)  # strategies may print where they are imported
            answer.write(msgspec.json.encode(check(decode_config(sys.stdin.buffer.read()))))
        return ExitCode.OK
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
