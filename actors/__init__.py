"""The code of the processes; structlog is imported here, first, without what it takes along for nobody.

It imports rich, where that is installed, for tracebacks in colour: a fifth of what a child needs to start.
"""

from __future__ import annotations

import sys


def _import_structlog() -> None:
    hides_rich = "rich" not in sys.modules
    if hides_rich:
        sys.modules["rich"] = None  # type: ignore[assignment]  # to whoever imports it: not installed
    import structlog  # noqa: F401  # pyright: ignore[reportUnusedImport]

    if hides_rich:
        del sys.modules["rich"]


_import_structlog()
