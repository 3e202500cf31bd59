"""Where a pipe lives: a path that a Unix socket can have, or a name within the process."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import zmq

from protocol.client import control_endpoint
from protocol.errors import ConfigError
from protocol.pipeline import CONTROL, IPC_PATH_MAX, JOURNAL, MARKET, PIPES, Pipe, pipe_endpoint


def directory_of(socket_path_bytes: int, name: str) -> Path:
    """A directory in which the socket `name` has a path of so many bytes."""
    return Path("/" + "x" * (socket_path_bytes - len(name) - 2))


@pytest.mark.parametrize("pipe", [MARKET, JOURNAL], ids=lambda pipe: pipe.name)
def test_the_longest_path_is_taken_and_one_byte_more_is_refused(pipe: Pipe) -> None:
    assert pipe_endpoint(pipe, directory_of(IPC_PATH_MAX, pipe.name), "e").endswith(f"/{pipe.name}")
    with pytest.raises(ConfigError, match=f"engine.run_dir: the socket path .* longer than {IPC_PATH_MAX} bytes"):
        pipe_endpoint(pipe, directory_of(IPC_PATH_MAX + 1, pipe.name), "e")


def test_a_path_is_measured_in_bytes() -> None:
    directory = directory_of(IPC_PATH_MAX, MARKET.name)
    with pytest.raises(ConfigError):
        pipe_endpoint(MARKET, Path(str(directory).replace("xx", "xü", 1)), "e")


def test_the_limit_is_that_of_the_system() -> None:
    """107 bytes are what ZeroMQ takes; were it more, the check would refuse what works."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router, pytest.raises(zmq.ZMQError) as refused:
        router.bind(f"ipc:///{'x' * IPC_PATH_MAX}")
    assert refused.value.errno == errno.ENAMETOOLONG


def test_no_two_pipes_meet_and_none_is_the_operators_socket(tmp_path: Path) -> None:
    for directory in (tmp_path / "ipc", None):
        endpoints = {pipe_endpoint(pipe, directory, "e") for pipe in PIPES.values()}
        assert len(endpoints) == len(PIPES)
        assert control_endpoint(tmp_path) not in endpoints
    assert pipe_endpoint(CONTROL, None, "a") != pipe_endpoint(CONTROL, None, "b"), "engines in one process"
