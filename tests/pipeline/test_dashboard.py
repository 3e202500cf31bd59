"""`seawall dash` against a real engine, in a real headless Chromium: it shows, keeps up, and commands."""

from __future__ import annotations

import json
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from chromium import browser
from consoles import TOKEN, Console
from curve import curve_tree, make_keys
from harness import DEADLINE_S, EngineUnderTest, config_tree, wait_for
from metrics_table import metrics
from prometheus_client.parser import text_string_to_metric_families

from protocol.client import ControlClient
from supervisor.cli.naming import Target
from supervisor.dashboard.server import STREAMS_MAX
from supervisor.dashboard.watcher import Watcher

PANELS = ("account", "market", "positions", "fills", "latencies", "children", "log")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineUnderTest]:
    with EngineUnderTest(tmp_path_factory.mktemp("dash"), config_tree()) as running:
        yield running


@pytest.fixture(scope="module")
def console(engine: EngineUnderTest) -> Iterator[Console]:
    with Console(engine) as running:
        running.wait_for_metric("seawall_up 1.0")
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as found:
        yield found


def opened(chromium: Any, address: str, width: int = 1440, scheme: str = "light") -> Any:
    """The page, and in `page.complaints` whatever the browser has to complain of."""
    page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.complaints = []
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("console", lambda said: page.complaints.append(said.text) if said.type == "error" else None)
    page.set_default_timeout(DEADLINE_S * 1000)
    page.goto(address, wait_until="domcontentloaded")
    return page


def wait_until(page: Any, condition: str, argument: Any = None) -> None:
    """Playwright's own wait_for_function needs the eval that the page forbids."""
    wait_for(lambda: page.evaluate(condition, argument) or None, condition)


def is_stale(page: Any) -> list[str]:
    return page.eval_on_selector_all("section.stale", "found => found.map(one => one.dataset.panel)")


LAST_TIME_FITS = """
() => [equityChart, priceChart].every(({ plot }) => {
  plot.ctx.font = plot.axes[0].font[0];
  return plot.ctx.measureText("00:00:00").width / 2 <= plot.ctx.canvas.width - plot.bbox.left - plot.bbox.width;
})
"""


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fills_every_panel_and_fits_its_screen(
    engine: EngineUnderTest, console: Console, chromium: Any, width: int, scheme: str
) -> None:
    page = opened(chromium, console.address, width, scheme)
    page.wait_for_selector("#banner[data-state=ACTIVE]")
    page.wait_for_selector("#fills td")
    page.wait_for_selector("#positions td")
    wait_for(lambda: not is_stale(page) or None, "no panel to be stale")
    texts = {name: page.inner_text(f"section[data-panel={name}]") for name in PANELS}
    assert all(len(text.splitlines()) > 2 for text in texts.values()), texts
    assert "order_routing" in texts["children"]
    assert "journal sync" in texts["latencies"]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is cut off at the side"
    assert page.evaluate("document.querySelectorAll('canvas').length") == 2
    assert page.evaluate(LAST_TIME_FITS), "a time at the right end of a chart is whole"
    assert page.complaints == []
    page.close()


def test_the_page_lives(engine: EngineUnderTest, console: Console, chromium: Any) -> None:
    page = opened(chromium, console.address)
    page.wait_for_selector("#fills td")
    before = page.inner_text("#fills tbody tr:first-child")
    page.evaluate("window.held = [...document.querySelectorAll('#fills td, #children td, #quote dd, #log span')]")
    wait_until(page, "before => document.querySelector('#fills tbody tr').innerText !== before", before)
    newest = max(int(row["order_id"]) for row in page.evaluate("tapes.fills"))
    wait_for(lambda: page.evaluate("tapes.fills.at(-1).order_id") > newest, "a newer order's fill")
    # Of an order that was sent before the console heard the engine nobody has told it the side.
    told = "newest => tapes.fills.some((row) => row.order_id > newest && ['Buy', 'Sell'].includes(row.side))"
    wait_until(page, told, newest)
    assert page.evaluate("held.length") > 20
    assert page.evaluate("held.every((node) => node.isConnected)"), "a redraw keeps its nodes"
    page.close()


def test_without_the_token_it_only_looks(engine: EngineUnderTest, console: Console, chromium: Any) -> None:
    page = opened(chromium, console.url)
    page.wait_for_selector("#banner[data-state=ACTIVE]")
    assert page.is_hidden("#actions")
    assert page.is_visible("#looking")
    page.close()
    for token in ("", "Bearer ", "Bearer wrong", f"Basic {TOKEN}x"):
        code, reply = console.command({"verb": "HALT"}, Authorization=token)
        assert (code, reply["status"]) == (403, "error"), token
    assert engine.ask("STATUS")["halted"] is False


def test_a_page_that_is_read_only_has_no_token_that_would_do(engine: EngineUnderTest, console: Console) -> None:
    with Console(engine, "--read-only") as looking:
        assert looking.address == looking.url + "/"
        for token in (f"Bearer {TOKEN}", "Bearer "):
            assert looking.command({"verb": "HALT"}, Authorization=token)[0] == 403


def test_under_a_strange_name_it_says_nothing(console: Console) -> None:
    """Else somebody else's page could read it from within this browser (DNS rebinding)."""
    assert console.get("/", Host="evil.example")[0] == 400
    assert console.get("/api/stream", Host="evil.example")[0] == 400


@pytest.mark.parametrize(
    "body",
    [b"", b"no json", b"[]", {"argument": "x"}, {"verb": "DEPOSIT", "argument": "5"}, {"verb": 7}, b"{" + b"x" * 9000],
    ids=["nothing", "no JSON", "a list", "no verb", "another verb", "a number", "too long"],
)
def test_what_is_no_command_is_refused_with_a_reason(console: Console, body: Any) -> None:
    code, reply = console.command(body)
    assert code == 400
    assert reply["response"]


def test_two_clicks_reduce_and_resume_and_one_click_does_not(
    engine: EngineUnderTest, console: Console, chromium: Any
) -> None:
    page = opened(chromium, console.address)
    for verb, state in (("REDUCE", "REDUCING"), ("RESUME", "ACTIVE")):
        button = page.locator(f"button[data-verb={verb}]")
        button.click()
        assert "sure?" in button.inner_text()
        assert page.is_hidden("#told") or verb not in page.inner_text("#told"), "one click asks only"
        button.click()
        page.wait_for_selector(f"#banner[data-state={state}]")
        page.wait_for_selector("#told[data-level=ok]")
    assert "from the page" in page.inner_text("#log")
    page.close()


def test_a_restart_of_the_gateway_is_shown_and_survived(
    engine: EngineUnderTest, console: Console, chromium: Any
) -> None:
    page = opened(chromium, console.address)
    page.wait_for_selector("#fills td")
    engine.kill_and_wait_ready("gateway")
    wait_until(page, "() => tapes.log.some((row) => row.kind === 'child' && row.text.startsWith('gateway ready'))")
    page.wait_for_selector("#banner[data-state=ACTIVE]")
    newest = page.evaluate("tapes.fills.at(-1).order_id")
    wait_until(page, "newest => tapes.fills.at(-1).order_id > newest", newest)
    wait_for(lambda: not is_stale(page) or None, "no panel to be stale")
    page.close()


def test_a_page_whose_server_has_gone_turns_red_and_comes_back(
    engine: EngineUnderTest, chromium: Any
) -> None:
    with Console(engine) as first:
        page = opened(chromium, first.address)
        page.wait_for_selector("#banner[data-state=ACTIVE]")
        port = first.url.rpartition(":")[2]
    wait_for(lambda: len(is_stale(page)) >= len(PANELS) or None, "all panels to be stale")
    page.click("#halt")
    page.wait_for_selector("#told[data-level=error]")
    assert "seawall halt" in page.inner_text("#told"), "what to do instead"
    assert engine.ask("STATUS")["halted"] is False
    with Console(engine, "--listen", f"127.0.0.1:{port}"):
        wait_for(lambda: not is_stale(page) or None, "the page to live again")
    page.close()


def test_the_metrics_are_those_of_the_documented_table(engine: EngineUnderTest, console: Console) -> None:
    def has_traded() -> str:
        text = console.get("/metrics")[1]
        wanted = (
            'seawall_orders_total{status="Filled"}',
            "seawall_position_quantity{symbol=",
            "seawall_market_age_seconds{",
        )
        count = re.search(r"^seawall_tick_to_order_seconds_count (\S+)$", text, re.MULTILINE)
        return text if count and float(count[1]) and all(start in text for start in wanted) else ""

    text = wait_for(has_traded, "the metrics of an engine that has traded")
    assert 'seawall_child_up{child="risk"} 1.0' in text
    assert 'seawall_trading_state{state="ACTIVE"} 1.0' in text
    assert 'seawall_journal_sync_seconds_bucket{le="+Inf"}' in text
    assert 'seawall_tick_to_order_seconds_bucket{le="0.0001"}' in text
    assert 'seawall_queue_limit{child="wal",peer="",queue="batch"} 8192.0' in text
    families = {
        family.name + "_total" * (family.type == "counter"): family
        for family in text_string_to_metric_families(text)
        if family.name.startswith("seawall_")
    }
    assert {name: family.type for name, family in families.items()} == {
        name: metric.kind for name, metric in metrics().items()
    }
    for name, metric in metrics().items():
        labels = {frozenset(sample.labels.keys() - {"le"}) for sample in families[name].samples}
        assert labels <= {metric.labels}, name


def test_an_address_that_is_taken_is_said(engine: EngineUnderTest, console: Console) -> None:
    port = console.url.rpartition(":")[2]
    second = engine.cli("dash", "--run-dir", "run", "--listen", f"127.0.0.1:{port}")
    assert second.returncode == 1
    assert "--listen" in second.stderr


def test_beyond_loopback_it_listens_only_on_ones_word(engine: EngineUnderTest) -> None:
    refused = engine.cli("dash", "--run-dir", "run", "--listen", "0.0.0.0:0")
    assert refused.returncode == 2
    assert "--allow-remote" in refused.stderr


def test_one_click_halts_and_a_halted_engine_is_a_healthy_one(tmp_path: Path, chromium: Any) -> None:
    """And the alert's command is told of it; then the engine stops, which is said and told too."""
    told = tmp_path / "told"
    with EngineUnderTest(tmp_path, config_tree()) as engine:
        with Console(engine, "--alert-command", f"cat >> {told}") as console:
            page = opened(chromium, console.address)
            page.wait_for_selector("#fills td")
            page.click("#halt")
            page.wait_for_selector("#banner[data-state=HALTED]")
            page.wait_for_selector("#told[data-level=ok]")
            assert engine.ask("STATUS")["halted"] is True
            assert console.get("/healthz")[0] == 200
            console.wait_for_metric('seawall_trading_state{state="HALTED"} 1.0')
            wait_until(page, "() => document.getElementById('why').innerText.includes('from the page')")
            assert engine.stop() == 0
            page.wait_for_selector("#banner[data-state=UNREACHABLE]")
            assert "HALTED" in page.inner_text("#why"), "the last that was known"
            assert console.get("/healthz")[0] == 503
            console.wait_for_metric("seawall_up 0.0")
            page.close()
        kinds = [json.loads(line)["kind"] for line in told.read_text().splitlines()]
        assert {"halted", "unreachable"} <= set(kinds)


def test_feeds_that_are_turned_off_are_said_to_be_and_the_rest_is_asked_for(tmp_path: Path, chromium: Any) -> None:
    tree = config_tree(gateway={"broadcast": "", "telemetry": ""})
    with EngineUnderTest(tmp_path, tree) as engine, Console(engine) as console:
        page = opened(chromium, console.address)
        page.wait_for_selector("#positions td")
        wait_for(lambda: is_stale(page) == [] or None, "no panel to be stale")
        assert page.get_attribute("section[data-panel=market]", "data-shown-age") == "turned off"
        page.close()


def told(console: Console) -> dict[str, Any]:
    """All that a page is told when it joins."""
    with urllib.request.urlopen(console.url + "/api/stream", timeout=DEADLINE_S) as stream:
        return json.loads(stream.readline().removeprefix(b"data: "))


def test_of_an_engine_under_curve_it_hears_the_feeds_with_the_keys_that_the_config_names(tmp_path: Path) -> None:
    made = EngineUnderTest(tmp_path, curve_tree())
    make_keys(made)
    with made as engine, Console(engine, named=["seawall.toml"]) as console:

        def with_side() -> bool:
            """A fill comes by the broadcast, its side by telemetry."""
            return any(row["side"] for row in told(console)["tapes"].get("fills", {"rows": []})["rows"])

        wait_for(with_side, "a fill with its side")
        (engine.directory / "keys" / "clients" / "me.key").chmod(0o644)
        with Console(engine, named=["seawall.toml"]) as other:
            other.wait_for_metric("seawall_up 1.0")

            def is_said() -> bool:
                return any("me.key" in row["text"] for row in told(other)["tapes"]["log"]["rows"])

            wait_for(is_said, "the key that cannot be used to be named")
            assert told(other)["panels"]["trading"]["state"] == "ACTIVE", "the control socket wants no key"


def test_a_watcher_that_fails_says_so_and_tries_again(engine: EngineUnderTest) -> None:
    failures = ["out of descriptors"]

    class Failing(Target):
        def client(self, timeout_s: float) -> ControlClient:
            if failures:
                raise RuntimeError(failures[0])
            return super().client(timeout_s)

    watcher = Watcher(Failing(engine.run_dir, ""))
    watcher.start()
    try:
        wait_for(lambda: "out of descriptors" in watcher.read(lambda picture: picture.why_not), "the failure")
        assert not watcher.read(lambda picture: picture.is_reachable)
        failures.clear()
        wait_for(lambda: watcher.read(lambda picture: picture.is_reachable), "it to try again")
    finally:
        watcher.stop()
        watcher.join()


def test_more_pages_than_it_serves_are_told_so(engine: EngineUnderTest) -> None:
    with Console(engine) as console, ExitStack() as pages:
        first = None
        for _ in range(STREAMS_MAX):
            stream = pages.enter_context(urllib.request.urlopen(console.url + "/api/stream", timeout=DEADLINE_S))
            assert stream.readline().startswith(b"data: ")
            first = first or stream
        assert console.get("/api/stream")[0] == 503
        assert first is not None
        first.fp.raw._sock.shutdown(socket.SHUT_RDWR)

        def serves() -> bool:
            try:
                with urllib.request.urlopen(console.url + "/api/stream", timeout=DEADLINE_S) as again:
                    return again.readline().startswith(b"data: ")
            except urllib.error.HTTPError as error:
                error.close()
                return False

        wait_for(serves, "the page that has left to be counted no more")
