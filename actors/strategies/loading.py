"""From `module:Class` in the config to the class."""

from __future__ import annotations

import importlib

from actors.strategies import Strategy
from protocol.errors import ConfigError
from protocol.settings import StrategySettings


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
