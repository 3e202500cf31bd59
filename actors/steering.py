"""RESTART, PARK and UNPARK: what an operator may ask of the supervisor, and why not. Pure; the gateway asks it.

They change which processes run and nothing in the journal, so no COMMAND is written: what they lead to (cancels of a
parked strategy) is. The supervisor carries them out, and HEALTH shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from protocol.messages import ChildState, SteerVerb
from protocol.settings import Config

STEER_VERBS: Final = {verb.name: verb for verb in SteerVerb}
_STRATEGY: Final = "strategy."


def full_name(name: str, children: Sequence[ChildState]) -> str:
    """A strategy may be called by its bare name."""
    names = {child.name for child in children}
    return f"{_STRATEGY}{name}" if name not in names and f"{_STRATEGY}{name}" in names else name


def objection(
    verb: SteerVerb, name: str, children: Sequence[ChildState], config: Config, *, is_process: bool = True
) -> str:
    """Why not; "" if it may be. `name` is a full one."""
    if not children:
        return "the engine is starting"
    if not is_process:
        return "of threads none can be ended alone"
    states = {child.name: child.state for child in children}
    is_parked = states.get(name) == "parked"
    if name not in states:
        return f"{name!r} is no child; there are {', '.join(states)}"
    if config.is_replay:
        return "in a replay no process is restarted or parked alone"
    if verb is SteerVerb.RESTART:
        comes_back = "a new start brings it back" if config.market_data.is_file else "UNPARK starts it"
        return f"{name} is parked: {comes_back}" if is_parked else ""
    if not name.startswith(_STRATEGY):
        return f"a strategy can be parked, and {name} is none: without it there is no engine"
    if verb is SteerVerb.PARK:
        return f"{name} is parked already" if is_parked else ""
    if not is_parked:
        return f"{name} is not parked, but {states[name]}"
    return "the file has been read on without it: a new start reads it again" if config.market_data.is_file else ""
