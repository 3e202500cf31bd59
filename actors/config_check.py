"""What only a child can find in a config: strategies that cannot be made, files and keys that cannot be read.

Asked by `seawall check`, over `python -m actors --check`: strategies' modules are imported in a process of their own.
"""

from __future__ import annotations

import inspect
from typing import Final

from actors.sources import check_source
from actors.strategies import Strategy
from actors.strategies.loading import load_strategy_class, params_of
from protocol.config_checks import Found
from protocol.errors import ConfigError, DataError
from protocol.key_files import check_keys
from protocol.settings import Config, StrategySettings

NOTHING: Final = object()


def check(config: Config) -> Found:
    found = Found([], [])
    for index, settings in enumerate(config.strategies):
        try:
            strategy_class = load_strategy_class(index, settings)
            found.warnings.extend(_check_strategy(f"strategies[{index}]", settings, strategy_class))
        except ConfigError as error:
            found.mistakes.extend(error.mistakes)
    try:
        check_source(config)
    except ConfigError as error:
        found.mistakes.extend(error.mistakes)
    except DataError as error:
        found.mistakes.append(str(error))
    found.mistakes.extend(check_keys(config.gateway.curve))
    return found


def _check_strategy(path: str, settings: StrategySettings, strategy_class: type[Strategy]) -> list[str]:
    """Warnings; it is made as its process will make it. Raises: ConfigError."""
    try:
        strategy = strategy_class()
    except Exception as error:
        raise ConfigError(
            [f"{path}.class = {settings.class_path!r}: its __init__ raises {type(error).__name__}: {error}"]
        ) from error
    own = (name for name in vars(strategy) if not name.startswith("_"))
    known = sorted({*params_of(strategy_class), *own})
    warnings: list[str] = []
    for name, value in settings.params.items():
        default = inspect.getattr_static(strategy, name, NOTHING)  # a property is not run
        if default is NOTHING:
            has = f"{strategy_class.__name__} has no default for it, but for {', '.join(known) or 'none'}"
            warnings.append(f"{path}.params.{name}: {has}; a slip of the pen?")
        elif not _is_like(value, default):
            warnings.append(f"{path}.params.{name} = {value!r}: its default is {default!r}, of another type")
    return warnings


def _is_like(value: object, default: object) -> bool:
    """May stand in its place: of a number, a string or a boolean. Of other defaults nobody knows."""
    if type(default) not in (bool, int, float, str):
        return True
    return type(value) is type(default) or (type(default) is float and type(value) is int)
