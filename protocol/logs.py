"""Log lines, by structlog, which the command imports with the first of them: near half of what that needs to start.

How lines look is said elsewhere (actors/logs.py), before the first one.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any, Final

_pending: Final[list[Callable[[], None]]] = []
_loading: Final = threading.RLock()
"""The first line may come while another thread is in `load`."""


def before_first_line(configure: Callable[[], None]) -> None:
    """`configure` is called once structlog is there, or at once if it is. The last one counts."""
    _pending[:] = [configure]
    if "structlog" in sys.modules:
        load()


def load() -> None:
    """Imports structlog. Not in the middle of trouble: a process without descriptors or memory can import no more."""
    with _loading:
        hides_rich = "structlog" not in sys.modules and "rich" not in sys.modules
        if hides_rich:  # structlog imports it, where it is installed, for tracebacks in colour
            sys.modules["rich"] = None  # type: ignore[assignment]  # to whoever imports it: not installed
        try:
            import structlog  # noqa: F401  # pyright: ignore[reportUnusedImport]
        finally:
            if hides_rich:
                del sys.modules["rich"]
        if _pending:
            _pending[-1]()
            _pending.clear()


class Log:
    """As structlog's bound loggers, with these facts in each line."""

    __slots__ = ("_facts",)

    def __init__(self, **facts: Any) -> None:
        self._facts = facts

    def bind(self, **facts: Any) -> Log:
        return Log(**self._facts, **facts)

    def debug(self, event: str, **facts: Any) -> None:
        self._logger().debug(event, **facts)

    def info(self, event: str, **facts: Any) -> None:
        self._logger().info(event, **facts)

    def warning(self, event: str, **facts: Any) -> None:
        self._logger().warning(event, **facts)

    def error(self, event: str, **facts: Any) -> None:
        self._logger().error(event, **facts)

    def exception(self, event: str, **facts: Any) -> None:
        self._logger().exception(event, **facts)

    def _logger(self) -> Any:
        load()
        import structlog

        return structlog.get_logger().bind(**self._facts)
