"""What can go wrong, one function each, and when: the two tables that chaos.py draws from.

A fault of SIGNALS strikes any process at any moment (PHASES); one of the others has a victim, or a moment, of its own.
Each returns when what it leads to has been seen in the log; that the engine trades again is for the caller to see.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Final

import zmq
from crashes import CHILDREN, Tail
from disks import injecting
from harness import EngineUnderTest, config_tree, wait_for
from venue_kills import EVERYTHING, LINE, wait_until_settled

EVERYONE: Final = (*CHILDREN, "venue")
STRATEGY: Final = "strategy.often"
HOOKS: Final = ("on_tick", "on_order", "on_fill", "on_position", "save", "on_timer")
"""That are called again and again; load has a fault of its own."""
CHECKPOINT_RECORDS: Final = 60
"""One every two seconds or so."""
STARTS_MAX: Final = 3
CLOCK_OFFSET: Final = "clock-offset"
TRAPS: Final = '''

def is_set(name):
    return os.path.exists(name)


def raise_in(hook):
    if is_set("raise") and open("raise").read() == hook:
        raise RuntimeError("as asked")


class Trapped(Everything):
    """Does what the files in its directory say: `stick` is an endless loop, `leak` all memory, `crawl` a slow hook,
    `raise` an exception in the hook that it names."""

    hoard = []

    def on_start(self):
        self.every(0.05, lambda: raise_in("on_timer"))

    def on_tick(self, tick):
        while is_set("stick"):
            pass
        while is_set("leak"):
            self.hoard.append(bytearray(1 << 22))
        if is_set("crawl"):
            time.sleep(0.05)
        raise_in("on_tick")
        super().on_tick(tick)

    def on_order(self, order):
        raise_in("on_order")

    def on_fill(self, fill):
        raise_in("on_fill")
        super().on_fill(fill)

    def on_position(self, position):
        raise_in("on_position")

    def save(self):
        raise_in("save")
        return self.ticks

    def load(self, state):
        raise_in("load")
        self.ticks = state
'''
SURPRISE: Final = '''
"""Imported by every Python process first: SIGUSR1 raises in whatever handler the main loop is in."""
import signal


def surprise(*_):
    raise RuntimeError("as asked")


signal.signal(signal.SIGUSR1, surprise)
'''
DEADLINES: Final = {"idle": 1.0, "working": 3.0, "hook": 1.0, "venue_call": 3.0, "syncing": 20.0}


class ChaosEngine(EngineUnderTest):
    """An engine with traps in its strategy, a clock that can be set, and a venue outside."""

    def __init__(self, directory: Path) -> None:
        tree = config_tree(
            strategies=[{"name": "often", "class": "everything:Trapped", "symbols": ["EURUSD"]}],
            supervisor={
                "restarts": 10_000, "window_s": 0.2, "ready_timeout_s": 20.0, "stop_timeout_s": 3.0,
                "deadlines": DEADLINES, "limits": {STRATEGY: {"memory_mb": 400}},
            },
            wal={"checkpoint_records": CHECKPOINT_RECORDS},
            risk={"on_halt": "flatten"},
            order_routing={"venue": "simulated", "in_doubt_grace_s": 0.3, "line": LINE},
        )  # fmt: skip
        files = {"everything.py": f"import os\nimport time\n{EVERYTHING}{TRAPS}", "sitecustomize.py": SURPRISE}
        super().__init__(directory, tree, files=files)
        self.clock = directory / CLOCK_OFFSET
        self.clock.write_bytes(bytes(8))
        self.preload = compiled_clock(directory)

    def environment(self) -> dict[str, str]:
        found = super().environment()
        found["PYTHONPATH"] = os.pathsep.join([str(self.directory), found["PYTHONPATH"]])
        if self.preload is not None:
            found |= {"LD_PRELOAD": str(self.preload), "CLOCK_OFFSET": str(self.clock)}
        return found


def impossible_here() -> dict[str, str]:
    """Kinds of OTHERS that this machine cannot do, and why."""
    found = {}
    if shutil.which("cc") is None:
        found["clock jump"] = "there is no C compiler"
    if shutil.which("strace") is None:
        found |= dict.fromkeys(("slow disk", "failing disk", "full disk"), "strace is not installed")
    return found


def compiled_clock(directory: Path) -> Path | None:
    """None where there is no C compiler: then no clock jumps."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    library = directory / "jump.so"
    source = Path(__file__).with_name("jump.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"], check=True)
    return library


class Scene:
    """The engine, and what a fault needs to strike it."""

    def __init__(self, engine: ChaosEngine, random: Random) -> None:
        self.engine = engine
        self.random = random
        self.tail = Tail(engine)
        self.states = engine.telemetry("actor_state")

    def signal(self, victim: str, number: int) -> int:
        """Its pid; the engine may be on its way up or down, and then the victim may never be there again: 0."""
        deadline = time.monotonic() + 5.0
        while time.monotonic() < deadline and self.engine.process.poll() is None:
            pid = self.engine.process.pid if victim == "supervisor" else self.engine.child_pid(victim)
            with contextlib.suppress(ProcessLookupError):
                if pid:
                    os.kill(pid, number)
                    return pid
        return 0

    def seen(self, event: str, **facts: object) -> Callable[[], bool]:
        """Whether one more such line is in the log than when this was called."""
        before = len(self.engine.log_events(event, **facts))
        return lambda: len(self.engine.log_events(event, **facts)) > before

    @contextlib.contextmanager
    def trap(self, file: str, text: str = "") -> Iterator[None]:
        """The strategy falls into it."""
        path = self.engine.directory / file
        path.write_text(text)
        try:
            yield
        finally:
            path.unlink()

    def begin_again(self) -> None:
        """A start that gives up, with a word, is tried again: who hangs before he can be watched, and who finds the
        machine so busy that nothing is ready in time, leaves that to whoever starts the engine."""
        for _ in range(STARTS_MAX):
            self.engine.start()
            if self.is_up():
                return
        raise AssertionError(f"not up after {STARTS_MAX} starts:\n{self.engine.log_text()}")

    def is_up(self) -> bool:
        """False: it has given up its start."""
        engine = self.engine
        wait_for(lambda: engine.log_events("engine_ready") or engine.process.poll() is not None, "READY, or an end")
        if engine.log_events("engine_ready"):
            return True
        assert engine.process.returncode == 1, engine.log_text()
        assert "supervisor.ready_timeout_s" in engine.log_text()
        return False

    def pause(self, seconds_max: float) -> None:
        time.sleep(self.random.uniform(0.0, seconds_max))


# What strikes one process, whatever it is doing.


def killed(scene: Scene, victim: str) -> None:
    scene.signal(victim, signal.SIGKILL)


def crashed(scene: Scene, victim: str) -> None:
    scene.signal(victim, signal.SIGSEGV)


def surprised(scene: Scene, victim: str) -> None:
    """An exception in whatever handler it is in."""
    scene.signal(victim, signal.SIGUSR1)


def hung(scene: Scene, victim: str) -> None:
    """Until its deadline, or that of the stop: it is killed for it."""
    scene.signal(victim, signal.SIGSTOP)


def paused(scene: Scene, victim: str) -> None:
    """For less than its deadline, and for longer than J3 waits."""
    pid = scene.signal(victim, signal.SIGSTOP)
    scene.pause(0.4)
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


# What has a victim of its own, while the engine trades.


def stuck(scene: Scene) -> None:
    _fall_into(scene, "stick", scene.seen("child_hung", name=STRATEGY))


def leaking(scene: Scene) -> None:
    _fall_into(scene, "leak", scene.seen("hook_failed"))


def raising(scene: Scene) -> None:
    hook = scene.random.choice(HOOKS)
    _fall_into(scene, "raise", scene.seen("hook_failed"), hook)


def _fall_into(scene: Scene, file: str, is_seen: Callable[[], bool], text: str = "") -> None:
    with scene.trap(file, text):
        wait_for(is_seen, f"the strategy to fall into {file} {text}")


def unloadable(scene: Scene) -> None:
    """load() raises: it is parked, its orders end, and the others go on; then an operator brings it back."""
    engine = scene.engine
    with scene.trap("raise", "load"):
        parked = scene.seen("child_parked", name=STRATEGY)
        wait_for(scene.seen("checkpoint_written"), "a checkpoint, with its state")
        scene.signal(STRATEGY, signal.SIGKILL)
        wait_for(parked, "it to be parked")
    engine.cli("unpark", "often", "--run-dir", str(engine.run_dir))


def crawling(scene: Scene) -> None:
    """A slow consumer within, and one without: a subscriber that reads nothing."""
    engine = scene.engine
    mute = engine.context.socket(zmq.SUB)
    mute.setsockopt(zmq.RCVHWM, 1)
    mute.subscribe(b"")
    for which in ("telemetry", "broadcast"):
        mute.connect(engine.endpoint(which))
    with scene.trap("crawl"):
        scene.tail.wait_for_fills("a strategy that crawls, and a subscriber that does not read")
    mute.close(0)


def slow_disk(scene: Scene) -> None:
    """Each sync takes 50 ms more."""
    with injecting(scene.engine.child_pid("wal"), "fdatasync", "delay_enter=50000"):
        scene.tail.wait_for_fills("a slow disk")


def failing_disk(scene: Scene) -> None:
    _lose_the_disk(scene, "fdatasync", "error=EIO")


def full_disk(scene: Scene) -> None:
    _lose_the_disk(scene, "pwrite64", "error=ENOSPC")


def _lose_the_disk(scene: Scene, call: str, how: str) -> None:
    """The engine stops in order with code 11, and the next start is halted until an operator's stop."""
    engine = scene.engine
    with injecting(engine.child_pid("wal"), call, how):
        assert engine.wait() == 11
    scene.begin_again()
    end_halt(scene)


def clock_jump(scene: Scene) -> None:
    """Somebody sets the clock: forward, or back to before the engine began; and it trades on."""
    hours = scene.random.choice((-30, -1, 1, 30))
    offset_ns = int.from_bytes(scene.engine.clock.read_bytes(), "little", signed=True) + hours * 3_600_000_000_000
    with open(scene.engine.clock, "r+b") as file:  # in place: it is mapped
        file.write(offset_ns.to_bytes(8, "little", signed=True))
    scene.tail.wait_for_fills(f"a jump of the clock by {hours} h")


def paused_supervisor(scene: Scene) -> None:
    """Nobody is brought back meanwhile, and nobody is taken for hung afterwards."""
    scene.signal("supervisor", signal.SIGSTOP)
    scene.pause(3.0)
    scene.signal("supervisor", signal.SIGCONT)


def lost_nursery(scene: Scene) -> None:
    """It dies, or hangs: the next child that is to be born begins another."""
    ended = scene.seen("nursery_ended")
    scene.signal("nursery", scene.random.choice((signal.SIGKILL, signal.SIGSTOP)))
    scene.signal(scene.random.choice(EVERYONE), signal.SIGKILL)
    wait_for(ended, "the loss of the nursery to be known")


# What strikes all at once.


def lost_supervisor(scene: Scene, _: str) -> None:
    """All children end by themselves; the next start goes on."""
    scene.engine.process.kill()
    scene.engine.process.wait()
    wait_for(lambda: not scene.engine.pids(), "the children to have ended")


def group_killed(scene: Scene, _: str) -> None:
    scene.engine.kill_all()


# When it strikes. Each leaves the engine trading, or on its way there.


def while_trading(scene: Scene, strike: Callable[[], None]) -> None:
    strike()
    revive(scene)


def at_a_checkpoint(scene: Scene, strike: Callable[[], None]) -> None:
    """When the journal is as long as a checkpoint wants it, or a little later."""
    wait_for(scene.seen("checkpoint_written"), "a checkpoint")
    begun = scene.tail.read().lsn
    wait_for(lambda: scene.tail.read().lsn >= begun + CHECKPOINT_RECORDS - scene.random.randrange(4), "the next")
    strike()
    revive(scene)


def while_starting(scene: Scene, strike: Callable[[], None]) -> None:
    scene.engine.kill_all()
    scene.engine.start()
    first = scene.random.choice(EVERYONE)
    wait_for(lambda: scene.engine.child_pid(first), "a child")
    scene.pause(1.0)
    strike()
    revive(scene)


def when_halted(scene: Scene, strike: Callable[[], None]) -> None:
    """HALT is kept, whoever dies; an ordered stop ends it."""
    engine = scene.engine
    assert engine.ask("HALT chaos")["status"] == "ok"
    strike()
    revive(scene)
    end_halt(scene)


def while_stopping(scene: Scene, strike: Callable[[], None]) -> None:
    scene.engine.process.send_signal(signal.SIGTERM)
    scene.pause(0.3)
    strike()
    scene.engine.wait()
    scene.begin_again()


def revive(scene: Scene) -> None:
    """An engine that has ended is started again."""
    if scene.engine.process.poll() is not None or not scene.is_up():
        scene.begin_again()


def end_halt(scene: Scene) -> None:
    """It is halted, it closes its position, and an operator's stop ends the halt."""
    engine = scene.engine
    wait_for(lambda: engine.ask("STATUS").get("halted"), "STATUS to say that it is halted")
    wait_until_settled(engine)
    engine.process.send_signal(signal.SIGTERM)
    engine.wait()
    scene.begin_again()
    assert not engine.ask("STATUS")["halted"]


Strike = Callable[[Scene, str], None]
SIGNALS: Final[dict[str, Strike]] = {
    "killed": killed, "crashed": crashed, "surprised": surprised, "hung": hung, "paused": paused,
    "lost supervisor": lost_supervisor, "group killed": group_killed,
}  # fmt: skip
OF_ALL: Final = ("lost supervisor", "group killed")
OTHERS: Final[dict[str, Callable[[Scene], None]]] = {
    "stuck": stuck, "leaking": leaking, "raising": raising, "unloadable": unloadable, "crawling": crawling,
    "slow disk": slow_disk, "failing disk": failing_disk, "full disk": full_disk, "clock jump": clock_jump,
    "paused supervisor": paused_supervisor, "lost nursery": lost_nursery,
}  # fmt: skip
PHASES: Final[dict[str, Callable[[Scene, Callable[[], None]], None]]] = {
    "trading": while_trading, "checkpoint": at_a_checkpoint, "start": while_starting, "halt": when_halted,
    "stop": while_stopping,
}  # fmt: skip
