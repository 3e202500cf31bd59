"""What only a child can find in a config: strategies that cannot be made, files and keys that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator

from actors.sources import check_source
from actors.strategies.loading import load_strategy_class, params_of
from protocol.config_checks import Found
from protocol.errors import ConfigError, DataError
from protocol.key_files import check_keys
from protocol.settings import Config, StrategySettings


def check(config: Config) -> Found:
    found = Found([], [])
    for index, strategy in enumerate(config.strategies):
        try:
            found.warnings.extend(_make_strategy(index, strategy))
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


def _make_strategy(index: int, settings: StrategySettings) -> Iterator[str]:
    """As the child will make it; warnings. Raises: ConfigError."""
    path = f"strategies[{index}]"
    strategy_class = load_strategy_class(index, settings)
    try:
        strategy = strategy_class()
    except Exception as error:
        raise ConfigError(
            [f"{path}.class = {settings.class_path!r}: its __init__ raises {type(error).__name__}: {error}"]
        ) from error
    for name, value in settings.params.items():
        if not hasattr(strategy, name):
            has = f"{strategy_class.__name__} has no default for it, but for {', '.join(params_of(strategy)) or 'none'}"
            yield f"{path}.params.{name}: {has}; a slip of the pen?"
        elif not _is_like(value, default := getattr(strategy, name)):
            yield f"{path}.params.{name} = {value!r}: its default is {default!r}, of another type"


def _is_like(value: object, default: object) -> bool:
    """May stand in its place: of a number, a string or a boolean. Of other defaults nobody knows."""
    if not isinstance(default, bool | int | float | str):
        return True
    return type(value) is type(default) or (type(default) is float and type(value) is int)
