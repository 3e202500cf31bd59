"""The user's strategies of own_strategies.py, as files and config entries for EngineUnderTest."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from harness import EngineUnderTest, Tree

OWN_FILES: Final = {"own.py": Path(__file__).with_name("own_strategies.py").read_text(encoding="utf-8")}
"""`own.py`, for the engine's working directory."""


def own(name: str, symbol: str = "EURUSD", **params: Any) -> Tree:
    """An entry of [[strategies]] for a class of own.py."""
    return {"name": name.lower(), "class": f"own:{name}", "symbols": [symbol], "params": params}


def seen(engine: EngineUnderTest, hook: str) -> list[Tree]:
    """What the hooks of own.py's strategies have written into the log."""
    return engine.log_events("seen", hook=hook)
