"""What the supervisor hands over at GO and STOP: a child's spec, and the run's record that wal completes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from actors.base import ChildSpec
from protocol import VERSION
from protocol.conversion import quote_currency
from protocol.pipeline import VENUE_DESK
from protocol.records import EngineRun, RunEvent
from protocol.settings import Config, config_hash
from protocol.units import MICROS, decimal_to_micros, product_to_bytes
from supervisor.boot import end_order

OPERATOR: Final = "operator"
END_OF_DATA: Final = "end_of_data"
ESCALATION: Final = "escalation"
FAILURE: Final = "failure"
"""Who may stop an engine (ENGINE_RUN's `by`)."""


def make_spec(
    config: Config, name: str, incarnation: int, boot_id: bytes, ipc: Path, *,
    inproc: bool, is_restart: bool = False, is_wanted: bool = False, forget_states: tuple[str, ...] = (),
) -> ChildSpec:  # fmt: skip
    """All that the child needs to begin; `ipc` is the private directory of the sockets."""
    ends = end_order(config)
    asked_at = {"gateway": "control", "venue": VENUE_DESK.name}
    return ChildSpec(
        name=name,
        incarnation=incarnation,
        boot_id=boot_id,
        parent_pid=os.getpid(),
        ipc_dir=None if inproc else str(ipc),
        ends_after=ends[: ends.index(name)],
        control_endpoint=f"ipc://{ipc}/{asked_at[name]}" if name in asked_at else "",
        config=config,
        forget_states=forget_states,
        is_restart=is_restart,
        is_wanted=is_wanted,
    )


def make_run(config: Config, boot_id: bytes, event: RunEvent, by: str, halt_token: int = 0) -> EngineRun:
    """wal completes it: journal id, id tables, and the token of a stop that is no operator's (H2).

    halt_token: of the halt that ends there: at an operator's stop, or where he starts a replay, whose journal has none.
    """
    return EngineRun(
        journal_id=b"",
        event=event,
        by=by,
        version=VERSION,
        config_hash=config_hash(config),
        boot_id=boot_id,
        halt_token=halt_token if by == OPERATOR and (event is RunEvent.STOP or config.is_replay) else 0,
        balance=product_to_bytes(decimal_to_micros(config.account.balance) * MICROS),
        currency=config.account.currency,
        leverage=config.account.leverage,
        symbols=tuple((i.symbol, i.multiplier_micros) for i in config.instruments),
        strategies=tuple(strategy.name for strategy in config.strategies),
        quote_currencies=tuple(quote_currency(config, instrument) for instrument in config.instruments),
    )
