"""What the supervisor knows of each child, as HEALTH shows it: its own word, and what the system measures."""

from __future__ import annotations

from collections.abc import Iterable

from actors.latch import Latch
from protocol.messages import ChildState
from supervisor.child import Child, ChildPhase


def observe(child: Child) -> ChildState:
    """The child's state now; CPU in percent of one core since the last look, memory as RSS in bytes."""
    cpu_percent, memory_bytes = _measure(child)
    said = child.statistics
    return ChildState(
        name=child.name,
        state=child.state,
        pid=child.pid if child.is_alive else 0,
        incarnation=child.incarnation,
        restarts=child.restarts,
        cpu_percent=cpu_percent,
        memory_bytes=memory_bytes,
        lsn=max(child.lsn, said.lsn) if said else child.lsn,
        market_position=said.market_position if said else 0,
        counters=said.counters if said else {},
        started_us=child.started_us if child.is_alive else 0,
        last_error=child.last_error,
        queues=said.queues if said else (),
    )


def quiet_state(children: Iterable[Child], question: int) -> tuple[int, ...] | None:
    """The LSNs of all, if the file has ended everywhere and nothing is outstanding; None otherwise.

    Only answers to `question`, the newest, count. Asked twice with the same state to be sure.
    """
    state: list[int] = []
    for child in children:
        if child.phase is ChildPhase.PARKED:
            continue
        said = child.statistics
        if said is None or child.statistics_round != question or not said.at_end or said.outstanding:
            return None
        if child.name not in ("market_data", "venue"):  # they do not follow the journal
            state.append(said.lsn)
    return tuple(state) if len(set(state)) == 1 else None


def status_line(children: Iterable[Child], latch: Latch) -> str:
    """How the engine is, in a line: `trading; 6 processes, all ready`."""
    trading = f"HALTED by {latch.who()}: {latch.reason()}" if latch.is_halted() else "trading"
    states = [(child.name, child.state) for child in children]
    odd = ", ".join(f"{name} {state}" for name, state in states if state != ChildPhase.READY)
    return f"{trading}; {len(states)} processes, {odd or 'all ready'}"


def _measure(child: Child) -> tuple[float, int]:
    if not child.is_alive:
        return 0.0, 0
    import psutil  # the first time after READY: no start waits for it

    try:
        if child.meter is None or child.meter.pid != child.pid:
            child.meter = psutil.Process(child.pid)
        with child.meter.oneshot():
            return child.meter.cpu_percent(None), child.meter.memory_info().rss
    except psutil.Error:
        return 0.0, 0
