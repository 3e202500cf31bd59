"""From `module:Class` in the config to the class."""

from __future__ import annotations

import hashlib
import importlib
import inspect
from pathlib import Path

from actors.strategies import Strategy
from protocol.errors import ConfigError
from protocol.settings import StrategySettings


def source_hash(strategy: type[Strategy]) -> bytes:
    """16 bytes over the file in which the class stands; empty if it stands in none."""
    try:
        path = inspect.getsourcefile(strategy)
        return hashlib.blake2b(Path(path).read_bytes(), digest_size=16).digest() if path else b""
    except (TypeError, OSError):
        return b""


def load_strategy_class(index: int, settings: StrategySettings) -> type[Strategy]:
    """The class that the config names. Raises: ConfigError with the key and what the import said."""
    path = f"strategies[{index}].class = {settings.class_path!r}"
    module_name, _, class_name = settings.class_path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ConfigError([f"{path}: cannot be imported: {type(error).__name__}: {error}"]) from error
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, Strategy)):
        raise ConfigError([f"{path}: {module_name} has no Strategy named {class_name}"])
    return found
