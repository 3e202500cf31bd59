"""From `module:Class` in the config to the class."""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from actors.strategies import Strategy
from protocol.errors import ConfigError
from protocol.settings import StrategySettings

RESERVED: Final = {name for name in dir(Strategy) if not name.startswith("__")} | set(Strategy.__annotations__)
"""What every strategy has, and no param may be called."""


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
        is_missing = isinstance(error, ModuleNotFoundError) and error.name == module_name.partition(".")[0]
        where = f"; it is looked for where the engine is started, here {Path.cwd()}" if is_missing else ""
        raise ConfigError([f"{path}: cannot be imported: {type(error).__name__}: {error}{where}"]) from error
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, Strategy)):
        raise ConfigError([f"{path}: {module_name} has no Strategy named {class_name}"])
    if mistakes := list(_param_mistakes(f"strategies[{index}].params", found, settings.params)):
        raise ConfigError(mistakes)
    return found


def params_of(strategy: type[Strategy]) -> list[str]:
    """What the config may set: attributes with a default or an annotation that are the strategy's own."""
    annotated = {name for base in strategy.__mro__ for name in getattr(base, "__annotations__", {})}
    named = {name for name in annotated | set(dir(strategy)) if not name.startswith("_")} - RESERVED
    return sorted(name for name in named if not callable(getattr(strategy, name, None)))


def _param_mistakes(path: str, strategy: type[Strategy], params: Mapping[str, object]) -> Iterator[str]:
    """Names that are the base's own, or that the class does not have: where it has an __init__ nobody knows before."""
    known = params_of(strategy)
    for name in params:
        if name in RESERVED or callable(getattr(strategy, name, None)):
            yield f"{path}.{name}: a hook, call or attribute that every strategy has; rename the param"
        elif name not in known and strategy.__init__ is object.__init__:
            has = f"has {', '.join(known)}" if known else "has none"
            yield f"{path}.{name}: {strategy.__name__} has no such attribute; it {has}"
