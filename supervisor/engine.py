"""The engine as a Python object, for notebooks and tests, and what `seawall run` does.

    with Engine(load_config("demo.toml")) as engine:
        engine.wait()

The supervisor runs in a thread of its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType

import msgspec

from actors.fold import Fold, PositionView
from actors.logs import configure_logging, configure_logging_once
from protocol.config_checks import Found, check_config
from protocol.errors import ConfigError, ExitCode, FoldError, SupervisionError, WalError, WireError
from protocol.logs import Log
from protocol.records import decode_record
from protocol.settings import Config, encode_config
from protocol.wal.journal import read_journal
from protocol.wal.names import JOURNAL_NAME
from supervisor.notify import Notifier
from supervisor.nursery import NurseryProcess
from supervisor.progress import LOOK_EVERY_S, ProgressTeller, make_teller
from supervisor.run_dir import check_run_dir
from supervisor.supervision import Supervisor
from supervisor.warnings import warnings_of

CHECK_TIMEOUT_S = 60.0


class Engine:
    """One engine. `start` returns when every child is READY; `stop` when all have ended in order."""

    def __init__(self, config: Config, *, inproc: bool = False) -> None:
        self.config = config
        self.inproc = inproc
        self.exit_code: ExitCode | None = None
        self._supervisor: Supervisor | None = None
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._error: BaseException | None = None

    def start(self) -> None:
        """Raises: ConfigError if the config cannot be used, SupervisionError if the engine did not come up."""
        if self._thread is not None and self._thread.is_alive():
            raise SupervisionError("the engine is running already")
        if mistakes := check_config(self.config):
            raise ConfigError(mistakes)
        configure_logging_once(self.config.logging)
        check_promises(self.config)
        self.exit_code, self._error = None, None
        self._ready.clear()
        self._supervisor = Supervisor(self.config, inproc=self.inproc, on_ready=self._ready.set)
        self._thread = threading.Thread(target=self._run, args=(self._supervisor,), name="supervisor", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            raise self._error
        if self.exit_code not in (None, ExitCode.OK):
            raise SupervisionError(self._supervisor.failure or f"the engine ended with code {self.exit_code}")

    def _run(self, supervisor: Supervisor) -> None:
        try:
            self.exit_code = supervisor.run()
        except BaseException as error:
            self._error = error
            self.exit_code = ExitCode.USAGE if isinstance(error, ConfigError) else ExitCode.FAILURE
        finally:
            self._ready.set()

    def wait(self, timeout_s: float | None = None) -> ExitCode | None:
        """The exit code when the engine has ended by itself or was stopped; None if it still runs after the time."""
        if self._thread is not None:
            self._thread.join(timeout_s)
        return self.exit_code

    def stop(self) -> ExitCode | None:
        """An operator's ordered stop; returns the exit code."""
        if self._supervisor is not None and self._thread is not None and self._thread.is_alive():
            self._supervisor.request_stop()
            self._thread.join()
        return self.exit_code

    @property
    def is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def __enter__(self) -> Engine:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # Before start: these override the config.

    def enable_broadcasting(self, endpoint: str) -> None:
        """The binary broadcast at `endpoint`, from the next start on."""
        self._set_gateway(endpoint)

    def disable_broadcasting(self) -> None:
        self._set_gateway("")

    @property
    def is_broadcasting(self) -> bool:
        return bool(self.config.gateway.broadcast)

    def _set_gateway(self, endpoint: str) -> None:
        self._check_not_running()
        gateway = msgspec.structs.replace(self.config.gateway, broadcast=endpoint)
        self.config = msgspec.structs.replace(self.config, gateway=gateway)

    def enable_wal(self, path: str | Path, truncate: bool = False) -> None:
        """The journal in the run_dir `path`, from the next start on; `truncate` removes what is there."""
        self._check_not_running()
        engine = msgspec.structs.replace(self.config.engine, run_dir=str(path))
        wal = msgspec.structs.replace(self.config.wal, enabled=True)
        self.config = msgspec.structs.replace(self.config, engine=engine, wal=wal)
        if truncate:
            remove_journal(Path(path))

    def disable_wal(self) -> None:
        """Records are sequenced in memory only: nothing survives the engine."""
        self._check_not_running()
        wal = msgspec.structs.replace(self.config.wal, enabled=False)
        self.config = msgspec.structs.replace(self.config, wal=wal)

    @property
    def is_wal_enabled(self) -> bool:
        return self.config.wal.enabled

    def recover_from_wal(self) -> list[PositionView]:
        """Folds the journal now and returns the positions, flat ones too; `start` folds anyway. Raises: WalError."""
        path = self.config.run_dir / "wal" / JOURNAL_NAME
        return fold_journal(path).snapshot_positions() if path.exists() else []

    def _check_not_running(self) -> None:
        if self.is_running:
            raise SupervisionError("the engine is running: stop it first")


def fold_journal(path: Path) -> Fold:
    """The state that the journal at `path` leaves. Raises: WalError with the place where it cannot be read."""
    fold = Fold()
    for envelope, _, data in read_journal(path):
        try:
            fold.apply(envelope, decode_record(envelope.entry_type, data))
        except WireError as error:
            raise FoldError(envelope.lsn, str(error)) from error
    return fold


def remove_journal(run_dir: Path) -> None:
    """Everything that this run_dir remembers is gone: journal, pages, latch. Raises: WalError if an engine runs."""
    from protocol.client import engine_pid

    if (run_dir / "lock").exists() and engine_pid(run_dir) is not None:
        raise WalError(f"{run_dir}: an engine runs there; stop it first")
    for pattern in ("wal/*", "pages/*", "latch"):
        for path in run_dir.glob(pattern):
            path.unlink()


def check_promises(config: Config, *, resume: bool = False) -> None:
    """What does not hold with these settings is said. Raises: ConfigError if the run_dir forbids them."""
    if mistakes := check_run_dir(config, resume=resume):
        raise ConfigError(mistakes)
    log = Log(child="supervisor")
    for warning in warnings_of(config):
        log.warning("promise_not_kept", reason=warning)


def check_children(config: Config) -> Found:
    """What only a child can find (imports, files), found in a process of its own."""
    command = [sys.executable, "-m", "actors", "--check"]
    try:
        done = subprocess.run(
            command, input=encode_config(config), stdout=subprocess.PIPE, timeout=CHECK_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        waits = "does a strategy's module wait for something where it is imported?"
        return Found([f"the check was not done within {CHECK_TIMEOUT_S:.0f} s: {waits}"], [])
    try:
        return msgspec.json.decode(done.stdout, type=Found)
    except msgspec.DecodeError:
        return Found([f"the check itself ended with code {done.returncode}; its log is above"], [])


def run_engine(
    config: Config, *, inproc: bool = False, resume: bool = False, forget_states: tuple[str, ...] = (),
    progress: bool = False, nursery: NurseryProcess | None = None,
) -> ExitCode:  # fmt: skip
    """`seawall run`: until a signal, the end of the data or an escalation. Raises: ConfigError.

    resume: a replay goes on over the journal of its former life, if there is one. forget_states: the strategies whose
    saved states count no more. nursery: as Supervisor's.
    """
    import setproctitle

    known = [strategy.name for strategy in config.strategies]
    unknown = [name for name in forget_states if name not in known]
    if unknown:
        raise ConfigError([f"--forget-state {name}: no such strategy; known: {', '.join(known)}" for name in unknown])

    if resume and forget_states:
        raise ConfigError(["--forget-state with --resume: a replay goes on with all its states, or begins again"])
    configure_logging(config.logging)
    check_promises(config, resume=resume)
    if config.is_replay and inproc and sys.flags.hash_randomization:
        hint = "a strategy that goes through a set of strings does so in another order each time: PYTHONHASHSEED=0"
        Log(child="supervisor").warning("replay_hashes_at_random", hint=hint)
    setproctitle.setproctitle(f"seawall: supervisor [{config.engine.name}]")
    supervisor = Supervisor(config, inproc=inproc, forget_states=forget_states, nursery=nursery)
    supervisor.notifier = Notifier.of(os.environ)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, as one may inherit it, it would take the exit codes
    signal.signal(signal.SIGINT, lambda *_: supervisor.interrupt())
    signal.signal(signal.SIGTERM, lambda *_: supervisor.request_stop())
    code = _run_with_progress(supervisor) if progress and config.market_data.is_file else supervisor.run()
    if supervisor.stop_by == "end_of_data":
        from supervisor.summary import print_summary  # late: no start waits for NumPy

        print_summary(supervisor)
    elif config.is_replay and code is ExitCode.OK:
        print("stopped before the end of the data: `seawall run CONFIG --resume` goes on", flush=True)
    return code


def _run_with_progress(supervisor: Supervisor) -> ExitCode:
    """Looks at what the supervisor has been told anyhow, in its own loop: nobody is asked more often."""
    tellers: list[ProgressTeller] = []

    def begin() -> None:
        if not tellers:  # else the replay has been resumed
            tellers.append(make_teller(supervisor.log))
            supervisor.loop.every(LOOK_EVERY_S, look)

    def look() -> None:
        if supervisor.stop_by:
            tellers[0].close()
        else:
            children = supervisor.children
            hearers = children.keys() - {"wal", "market_data", *supervisor.parked}
            said = [children[name].statistics for name in hearers]
            tellers[0].look(children["market_data"].statistics, [one for one in said if one is not None])

    supervisor.on_ready = begin
    try:
        return supervisor.run()
    finally:
        for teller in tellers:
            teller.close()
