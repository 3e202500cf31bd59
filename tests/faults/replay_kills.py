"""The long run: a replay killed again and again, and resumed each time; its journal is that of a run that never died.

    python -m tests.faults.replay_kills --data FILE --kills 200 [--seed N] [--without-state]

First the file is replayed undisturbed. Then it is replayed over and over, with SIGKILL to single children, to the
supervisor and to the whole group, after a random time or at a random length of the journal: also before READY and in
the midst of a resume. A child's death is the supervisor's to mend; when the engine is dead it is started with
`--resume`. At the end of each run every byte of journal.wal and of the sealed files must be as undisturbed.
`--without-state`: a strategy without save, so every resume begins anew and retraces. Ends with code 1, and the
directory kept, if not.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]  # as pytest does for its tests

import ring_strategies  # noqa: E402
from harness import EngineUnderTest, config_tree, wait_for  # noqa: E402

from protocol.wal.history import read_history  # noqa: E402
from protocol.wal.sealed import list_sealed, open_sealed  # noqa: E402
from protocol.wal.storage import RealStorage  # noqa: E402

CHILDREN = ("wal", "risk", "strategy.busy", "order_routing", "gateway", "market_data")
ALL, SUPERVISOR = "all", "supervisor"
VICTIMS = (*CHILDREN, ALL, ALL, SUPERVISOR)
KILLS_MAX = 8
"""In one run."""
POLL_S = 0.002
DEADLINE_S = 300.0

Content = dict[int, bytes]
"""By first LSN; 0: journal.wal."""


@dataclass
class Replays:
    """One config and its data, in as many directories as there are runs."""

    directory: Path
    data: Path
    symbol: str
    has_state: bool = True
    quantum: int = 100
    checkpoint_ticks: int = 1_000
    rate: float = 0.02
    step: float = 0.00002
    made: int = 0
    kills: Counter[str] = field(default_factory=Counter)

    def engine(self) -> EngineUnderTest:
        self.made += 1
        kind = "Hashed" if self.has_state else "Forgetful"
        busy = {"name": "busy", "class": f"ring_strategies:{kind}", "symbols": [self.symbol]}
        tree = config_tree(
            engine={"mode": "replay"},
            instruments=[{"symbol": self.symbol, "tick_size": 0.00001, "lot_size": 1.0}],
            market_data={"source": "csv", "path": str(self.data.resolve()), "symbol": self.symbol, "seed": 1},
            strategies=[busy | {"params": {"rate": self.rate, "step": self.step, "span": 60.0}}],
            risk={"max_position_per_symbol": 20.0},
            order_routing={"commission_per_lot": 0.00001, "slippage_ticks": 1},
            replay={"quantum": self.quantum, "checkpoint_ticks": self.checkpoint_ticks},
            supervisor={"restarts": 1000, "window_s": 0.2},
        )
        del tree["market_data"]["rate"]
        source = Path(ring_strategies.__file__).read_text(encoding="utf-8")
        return EngineUnderTest(self.directory / str(self.made), tree, files={"ring_strategies.py": source})

    def undisturbed(self) -> tuple[Content, float]:
        """What it must be, and how long a run takes, in seconds."""
        engine, began = self.engine(), time.monotonic()
        try:
            engine.start()
            assert engine.wait(DEADLINE_S) == 0, engine.log_text()[-3000:]
        finally:
            engine.close()
        return content_of(engine.run_dir), time.monotonic() - began

    def killed(self, victims: Sequence[str], draw: random.Random, expected: Content, run_s: float) -> None:
        """A run of its own, killed as often as it lives long enough; then its bytes are the expected ones."""
        engine = self.engine()
        try:
            engine.start("--resume")
            for victim in victims:
                if not self._kill(engine, victim, draw, expected, run_s):
                    break
            code = engine.wait(DEADLINE_S)
            assert code == 0, f"ended with code {code}:\n{engine.log_text()[-3000:]}"
            assert_same(content_of(engine.run_dir), expected, engine.directory)
            if draw.random() < 0.1:  # it has ended, and so it does again
                engine.start("--resume")
                assert engine.wait(DEADLINE_S) == 0, engine.log_text()[-3000:]
                assert_same(content_of(engine.run_dir), expected, engine.directory)
        finally:
            engine.close()
        shutil.rmtree(engine.directory)

    def _kill(
        self, engine: EngineUnderTest, victim: str, draw: random.Random, expected: Content, run_s: float
    ) -> bool:
        """False: the run had come to its end before."""
        if draw.random() < 0.5:
            until_s = time.monotonic() + draw.uniform(0.0, run_s / 2)
            is_time: Callable[[], bool] = lambda: time.monotonic() >= until_s  # noqa: E731
        else:
            length = length_of(engine.run_dir) + draw.randrange(1, sum(map(len, expected.values())) // 8)
            is_time = lambda: length_of(engine.run_dir) >= length  # noqa: E731
        wait_for(lambda: is_time() or engine.process.poll() is not None, "the moment to kill", DEADLINE_S)
        if engine.process.poll() is not None:
            return self._go_on(engine)
        if victim in (ALL, SUPERVISOR):
            self.kills[victim] += 1
            if victim == SUPERVISOR:
                engine.process.kill()
                wait_for(lambda: not engine.pids(), "the end of the children whose supervisor is dead")
            engine.kill_all()
            engine.start("--resume")
            return True
        pid = engine.child_pid(victim)
        if pid:  # else it is being born, or the run is at its end
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.kills[victim] += 1
        return True

    def _go_on(self, engine: EngineUnderTest) -> bool:
        code = engine.process.returncode
        assert code == 0, f"ended with code {code}:\n{engine.log_text()[-3000:]}"
        return False


def length_of(run_dir: Path) -> int:
    """Of the journal's files, whatever happens to them meanwhile; a packed one counts as it is."""
    length = 0
    with contextlib.suppress(FileNotFoundError):
        for path in (run_dir / "wal").iterdir():
            if path.name.startswith("journal") and not path.name.endswith(".lock"):
                with contextlib.suppress(FileNotFoundError):
                    length += path.stat().st_size
    return length


def content_of(run_dir: Path) -> Content:
    """Every byte, whether a sealed file is packed or not; it is read as one history too."""
    directory, storage = run_dir / "wal", RealStorage()
    content = {0: (directory / "journal.wal").read_bytes()}
    for sealed in list_sealed(storage, directory):
        file = open_sealed(storage, sealed)
        try:
            content[sealed.first_lsn] = file.read(0, file.size())
        finally:
            file.close()
    entries = [envelope.lsn for envelope, _, _ in read_history(directory)]
    assert entries == list(range(1, len(entries) + 1))
    return content


def assert_same(found: Content, expected: Content, where: Path) -> None:
    assert found.keys() == expected.keys(), f"{where}: files {sorted(found)}, not {sorted(expected)}"
    for first_lsn, data in expected.items():
        same = next((n for n, pair in enumerate(zip(found[first_lsn], data, strict=False)) if pair[0] != pair[1]), None)
        assert found[first_lsn] == data, (
            f"{where}: the file of LSN {first_lsn} has {len(found[first_lsn])} bytes, not {len(data)}; "
            f"the first that differs stands at {same}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.replay_kills", description="SIGKILL to a replay.")
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="CSV of one symbol")
    parser.add_argument("--kills", type=int, default=200, help="in all (default 200)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32), help="of the kills")
    parser.add_argument("--without-state", action="store_true", help="the strategy has no save")
    arguments = parser.parse_args()
    directory, began = Path(tempfile.mkdtemp(prefix="seawall-kills-")), time.monotonic()
    print(f"seed {arguments.seed}, directory {directory}", file=sys.stderr)
    replays = Replays(directory, arguments.data, "EURUSD", has_state=not arguments.without_state)
    expected, run_s = replays.undisturbed()
    print(f"undisturbed: {run_s:.1f} s, {sum(map(len, expected.values()))} bytes in {len(expected)} files, "
          f"so {len(expected) - 1} checkpoints", file=sys.stderr)  # fmt: skip
    draw, runs = random.Random(arguments.seed), 0
    while (left := arguments.kills - replays.kills.total()) > 0:
        victims = draw.choices(VICTIMS, k=min(left, draw.randint(1, KILLS_MAX)))
        replays.killed(victims, draw, expected, run_s)
        runs += 1
        print(f"run {runs}: {replays.kills.total()} kills, the same bytes", file=sys.stderr)
    shutil.rmtree(directory)
    counts = ", ".join(f"{name} {count}" for name, count in sorted(replays.kills.items()))
    print(f"{replays.kills.total()} kills ({counts}) in {runs} runs and {time.monotonic() - began:.0f} s: "
          f"each ended with the same {sum(map(len, expected.values()))} bytes in {len(expected)} files")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
