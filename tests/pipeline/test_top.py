"""`seawall top` against a real engine, by textual's pilot: it shows everything, at 80 and 160 columns, and halts."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from harness import DEADLINE_S, POLL_S, EngineUnderTest, config_tree, wait_for
from textual.pilot import Pilot
from textual.widgets import Static

from supervisor.cli.asking import Target
from supervisor.dashboard.top import LEFT, RIGHT, Sure, Top
from supervisor.dashboard.watcher import Watcher

FILLED = {"order_routing": "children", "journal sync": "latencies", "EURUSD": "positions", "USD": "account"}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineUnderTest]:
    with EngineUnderTest(tmp_path_factory.mktemp("top"), config_tree()) as running:
        yield running


@asynccontextmanager
async def shown(run_dir: Path, width: int) -> AsyncIterator[tuple[Top, Pilot[None]]]:
    target = Target(run_dir, "")
    watcher = Watcher(target)
    watcher.start()
    try:
        top = Top(target, watcher)
        async with top.run_test(size=(width, 50)) as pilot:
            yield top, pilot
    finally:
        watcher.stop()
        watcher.join()


async def until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S:g} s: {what}"
        await asyncio.sleep(POLL_S)


def text_of(top: Top, name: str) -> str:
    """As it is drawn, line by line."""
    panel = top.screen_stack[0].query_one(f"#{name}", Static)
    return "\n".join("".join(piece.text for piece in panel.render_line(y)) for y in range(panel.size.height))


@pytest.mark.parametrize("width", [80, 160])
def test_every_panel_is_filled_and_none_is_cut_off(engine: EngineUnderTest, width: int) -> None:
    async def look() -> None:
        async with shown(engine.run_dir, width) as (top, pilot):
            await until(lambda: "Buy" in text_of(top, "fills") or "Sell" in text_of(top, "fills"), "a fill")
            for words, name in FILLED.items():
                await until(lambda words=words, name=name: words in text_of(top, name), f"{words} in {name}")
            await until(lambda: not top.screen.query(".stale"), "no panel to be stale")
            await pilot.pause()
            assert "ACTIVE" in text_of(top, "banner")
            texts = {name: text_of(top, name) for name in (*LEFT, *RIGHT)}
            assert all(text.strip() for text in texts.values()), texts
            for name in (*LEFT, *RIGHT):
                panel = top.screen.query_one(f"#{name}", Static)
                assert 0 < panel.region.width <= width
                assert panel.region.right <= width, f"{name} reaches beyond the screen"
            columns = [top.screen.query_one(f"#{name}").region.x for name in ("account", "positions")]
            assert (columns[0] < columns[1]) == (width == 160), "two columns where there is room for them"

    asyncio.run(look())


def test_h_asks_once_and_halts_on_y_alone(tmp_path: Path) -> None:
    async def halt(engine: EngineUnderTest) -> None:
        async with shown(engine.run_dir, 80) as (top, pilot):
            await until(lambda: "ACTIVE" in text_of(top, "banner"), "the state")
            for no in ("escape", "n", "enter"):
                await pilot.press("h")
                assert isinstance(top.screen, Sure)
                await pilot.press(no)
                assert not isinstance(top.screen, Sure)
            assert await asyncio.to_thread(engine.ask, "STATUS") == await asyncio.to_thread(unhalted, engine)
            await pilot.press("h", "y")
            await until(lambda: "HALTED" in text_of(top, "banner"), "the halt to be shown")
            assert "from seawall top" in text_of(top, "banner")
            assert (await asyncio.to_thread(engine.ask, "STATUS"))["halted"] is True

    def unhalted(engine: EngineUnderTest) -> dict[str, Any]:
        reply = engine.ask("STATUS")
        assert reply["halted"] is False
        return reply

    with EngineUnderTest(tmp_path, config_tree(market_data={"rate": 1})) as engine:
        asyncio.run(halt(engine))


def test_an_engine_that_goes_and_comes_is_shown(tmp_path: Path) -> None:
    async def watch(engine: EngineUnderTest) -> None:
        async with shown(engine.run_dir, 160) as (top, _):
            await until(lambda: "ACTIVE" in text_of(top, "banner"), "the state")
            await asyncio.to_thread(engine.stop)
            await until(lambda: "UNREACHABLE" in text_of(top, "banner"), "the silence to be shown")
            assert "last known: ACTIVE" in " ".join(text_of(top, "banner").split())
            await asyncio.to_thread(engine.start)
            await until(lambda: "UNREACHABLE" not in text_of(top, "banner"), "the engine to be shown again")

    with EngineUnderTest(tmp_path, config_tree()) as engine:
        asyncio.run(watch(engine))


def test_it_draws_on_a_real_terminal_and_q_leaves_it_as_it_was(engine: EngineUnderTest) -> None:
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "supervisor.cli.main", "top", "--run-dir", "run"]
    environment = engine.environment() | {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "50"}
    process = subprocess.Popen(
        command, cwd=engine.directory, env=environment, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    os.set_blocking(master, False)
    drawn = bytearray()

    def read() -> bool:
        try:
            while piece := os.read(master, 1 << 16):
                drawn.extend(piece)
        except BlockingIOError:
            pass
        except OSError:  # the terminal has no other end any more
            return True
        return False

    wait_for(lambda: read() or b"ACTIVE" in drawn, "the state on the screen")
    os.write(master, b"q")
    wait_for(lambda: read() or process.poll() is not None, "its end")
    assert process.wait(DEADLINE_S) == 0
    read()
    os.close(master)
    assert b"\x1b[?1049l" in drawn, "the screen that was there before is back"


def test_without_a_terminal_it_says_what_to_use_instead(engine: EngineUnderTest) -> None:
    refused = engine.cli("top", "--run-dir", "run")
    assert refused.returncode == 2
    assert "health -o json" in refused.stderr
