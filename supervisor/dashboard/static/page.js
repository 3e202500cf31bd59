"use strict";
// What the server streams, drawn. Panels are replaced whole, tapes grow at their end; whatever is kept has a limit.

const LIMITS = { equity: 3600, prices: 3600, fills: 500, log: 500 };
const SHOWN_ROWS = 100;
const STALE_MS = { market: 15000, default: 5000 };
const RETRY_MS = 2000, COMMAND_MS = 10000;
const CHART_PX = 190; // without its legend
const LABEL_PX = 32; // half of the last time below a chart, which may stand at its edge
const SURE_MS = 4000; // a second click within so long
const panels = {}, tapes = { equity: [], prices: [], fills: [], log: [] };
let ages = {}, agesAt = 0, stream, retry = 0, shownSymbol = "";

const byId = (id) => document.getElementById(id);
const number = (value, digits = 2) => // no -0.00
  value === null || value === undefined ? "–" : (+value.toFixed(digits) || 0).toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const quantity = (value) => value.toLocaleString("en-US", { maximumFractionDigits: 6 });
const price = (value) => (value ? String(+value.toFixed(6)) : "–");
const clock = (us) => new Date(us / 1000).toISOString().slice(11, 19);
const span = (seconds) =>
  seconds < 120 ? `${Math.round(seconds)} s` : seconds < 7200 ? `${Math.round(seconds / 60)} min` :
  seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} d`;
const micros = (us) => (us === null ? "–" : us < 1000 ? `≤ ${us} µs` : us < 1e6 ? `≤ ${us / 1000} ms` : us === 1e6 ? "≤ 1 s" : "> 1 s");

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

// What stands there is kept and told its new text: a redraw makes no node, and leaves alone what has not changed.
function kept(parent, name, count) {
  while (parent.children.length > count) parent.lastElementChild.remove();
  while (parent.children.length < count) parent.append(element(name));
  return parent.children;
}

function say(node, text, className) {
  const said = String(text ?? "");
  if (!node.firstChild) node.textContent = said;
  else if (node.firstChild.data !== said) node.firstChild.data = said;
  if (className !== undefined && node.className !== className) node.className = className;
}

// columns: [heading, row => text, is a number, row => class, is left out where it is narrow]
function table(place, columns, rows, nothing) {
  const where = byId(place);
  if (!rows.length) return where.replaceChildren(element("p", nothing, "nothing"));
  let shown = where.querySelector("table");
  if (!shown) {
    shown = element("table");
    shown.createTHead().append(element("tr"));
    shown.createTBody();
    where.replaceChildren(shown);
  }
  const classes = (isNumber, isMinor, more) => [isNumber ? "number" : "", isMinor ? "minor" : "", more || ""].join(" ").trim();
  const heads = kept(shown.tHead.rows[0], "th", columns.length), lines = kept(shown.tBodies[0], "tr", rows.length);
  columns.forEach(([heading, , isNumber, , isMinor], at) => say(heads[at], heading, classes(isNumber, isMinor)));
  rows.forEach((row, index) => {
    const cells = kept(lines[index], "td", columns.length);
    columns.forEach(([, text, isNumber, className, isMinor], at) =>
      say(cells[at], text(row), classes(isNumber, isMinor, className && className(row))));
  });
}

function figures(place, pairs) {
  const shown = kept(byId(place), "div", pairs.length);
  pairs.forEach(([name, value, className], index) => {
    if (!shown[index].firstChild) shown[index].append(element("dt"), element("dd"));
    say(shown[index].firstChild, name);
    say(shown[index].lastChild, value, className);
  });
}

const sign = (value) => (value > 0 ? "good" : value < 0 ? "bad" : "");

const draw = {
  engine(engine) {
    say(byId("engine"), engine.engine || "Seawall");
    say(byId("about"), engine.version ? `Seawall ${engine.version}, ${engine.mode}, journal at ${engine.lsn}` : "");
    document.title = `${engine.engine || "Seawall"} · ${engine.reachable ? (panels.trading || {}).state : "unreachable"}`;
    const warnings = engine.reachable ? engine.warnings || [] : [];
    byId("warnings").hidden = !warnings.length;
    byId("warnings").replaceChildren(...warnings.map((text) => element("li", text)));
    banner();
  },
  trading() { banner(); },
  account(account) {
    document.querySelectorAll("[data-currency]").forEach((where) => say(where, account.currency));
    const drawdown = tapes.equity.length ? Math.min(...tapes.equity.map((row) => row.drawdown)) : 0;
    figures("account", [
      ["equity", number(account.equity)], ["balance", number(account.balance)],
      ["open profit", number(account.profit), sign(account.profit)],
      ["margin used", number(account.margin)], ["margin free", number(account.margin_free)],
      ["worst drawdown seen", number(drawdown), sign(drawdown)],
    ]);
  },
  market(market) {
    const select = byId("symbol"), names = market.map((row) => row.symbol);
    if (names.join() !== Array.from(select.options, (option) => option.value).join())
      select.replaceChildren(...names.map((name) => element("option", name)));
    if (!names.includes(shownSymbol)) shownSymbol = names[0] || "";
    select.value = shownSymbol;
    const row = market.find((each) => each.symbol === shownSymbol);
    figures("quote", row ? [["bid", price(row.bid)], ["ask", price(row.ask)], ["market time (UTC)", clock(row.time_us)]] : []);
  },
  positions(rows) {
    table("positions", [
      ["symbol", (row) => row.symbol], ["quantity", (row) => quantity(row.net_quantity), true, (row) => sign(row.net_quantity)],
      ["average price", (row) => price(row.average_price), true],
      ["realized", (row) => number(row.realized_pnl), true, (row) => sign(row.realized_pnl)],
    ], rows, "none yet");
  },
  orders({ open, rows }) {
    say(byId("orders-open"), open > rows.length || open > SHOWN_ROWS ? `the newest of ${open}` : `${open}`);
    table("orders", [
      ["id", (row) => row.order_id, true, null, true], ["symbol", (row) => row.symbol], ["side", (row) => row.side],
      ["type", (row) => row.order_type || "…", false, null, true], ["quantity", (row) => quantity(row.quantity), true],
      ["filled", (row) => quantity(row.filled_quantity || 0), true], ["limit", (row) => price(row.limit_price), true],
      ["stop", (row) => price(row.stop_price), true], ["status", (row) => row.status, false, null, true], ["strategy", (row) => row.strategy || "…", false, null, true],
    ], rows.slice(-SHOWN_ROWS).reverse(), "none open");
  },
  refusals(refusals) {
    table("refusals", [["reason", (row) => row[0].replaceAll("_", " ")], ["signals", (row) => quantity(row[1]), true]],
      Object.entries(refusals).sort((a, b) => b[1] - a[1]), "none");
  },
  children(rows) {
    const full = (queue) => queue.depth / queue.limit;
    const fullest = (row) => row.queues.reduce((most, queue) => (most && full(most) >= full(queue) ? most : queue), null);
    table("children", [
      ["process", (row) => row.name],
      ["state", (row) => row.state, false, (row) => ({ ready: "good", slow: "watch", starting: "watch", loaded: "watch", spawned: "watch", stopped: "" })[row.state] ?? "bad"],
      ["pid", (row) => row.pid || "–", true, null, true],
      ["up", (row) => (row.started_us ? span(Date.now() / 1000 - row.started_us / 1e6) : "–"), true],
      ["restarts", (row) => row.restarts, true, (row) => (row.restarts ? "watch" : "")],
      ["CPU %", (row) => number(row.cpu_percent, 1), true, null, true], ["memory MiB", (row) => number(row.memory_bytes / 1048576, 1), true],
      ["behind, records", (row) => quantity(row.journal_lag), true, null, true],
      ["fullest queue", (row) => { const one = fullest(row); return one ? `${one.name}${one.peer ? " to " + one.peer : ""} ${one.depth} of ${one.limit}` : "–"; },
        false, (row) => { const one = fullest(row); return one && full(one) > 0.8 ? "bad" : ""; }, true],
      ...(rows.some((row) => row.last_error) ? [["last error", (row) => row.last_error || "", false, () => "long"]] : []),
    ], rows, "not known yet");
  },
  latencies(latencies) {
    const names = { journal_sync: "journal sync", tick_to_order: "tick to order" };
    table("latencies", [
      ["what", (row) => names[row[0]] || row[0]], ["half", (row) => micros(row[1].p50_us), true],
      ["99 %", (row) => micros(row[1].p99_us), true], ["count", (row) => quantity(row[1].count), true],
    ], Object.entries(latencies), "not counted by this engine");
  },
};

function banner() {
  const engine = panels.engine || {}, trading = panels.trading || {};
  const state = engine.reachable ? trading.state || "UNKNOWN" : "UNREACHABLE";
  byId("banner").dataset.state = state;
  say(byId("state"), state);
  const since = trading.since_us ? ` since ${new Date(trading.since_us / 1000).toISOString().slice(0, 19).replace("T", " ")} UTC` : "";
  say(byId("why"), !engine.reachable ? `${engine.why_not || "no answer yet"}; last known: ${trading.state || "nothing"}` :
    trading.by ? `by ${trading.by}${since}${trading.reason ? ": " + trading.reason : ""}` : "");
}

function drawFills() {
  table("fills", [
    ["time (UTC)", (row) => clock(row.time_us)], ["order", (row) => row.order_id, true, null, true], ["symbol", (row) => row.symbol],
    ["side", (row) => row.side || "?"], ["quantity", (row) => quantity(row.quantity), true], ["price", (row) => price(row.price), true],
    ["profit", (row) => number(row.profit), true, (row) => sign(row.profit)],
  ], tapes.fills.slice(-SHOWN_ROWS).reverse(), "none since this page's server began");
}

function drawLog() {
  const levels = { error: "bad", warning: "watch", info: "" };
  const rows = tapes.log.slice(-SHOWN_ROWS).reverse(), shown = kept(byId("log"), "li", rows.length);
  rows.forEach((row, index) => {
    if (!shown[index].firstChild) shown[index].append(element("time"), element("span"), element("span"));
    const [time, kind, text] = shown[index].children;
    say(time, clock(row.time_us));
    say(kind, row.kind, `kind ${levels[row.level]}`);
    say(text, row.text);
  });
}

// Charts.

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function axes(format) {
  const line = { stroke: colour("--line"), width: 1 }, ink = colour("--quiet");
  const time = (_, splits) => splits.map((at) => clock(at * 1e6));
  return [{ stroke: ink, grid: line, ticks: line, space: 80, values: time }, { stroke: ink, grid: line, ticks: line, size: 76, values: (_, splits) => splits.map(format) }];
}

class Chart {
  constructor(place, series, format, hooks = {}) {
    this.place = byId(place);
    this.make = () => new uPlot({
      width: this.place.clientWidth || 300, height: CHART_PX, legend: { show: true }, cursor: { drag: { x: false, y: false } },
      padding: [null, LABEL_PX, null, null],
      scales: { x: { time: true } }, series: [{ label: "UTC", value: (_, at) => (at ? clock(at * 1e6) : "–") }, ...series()], axes: axes(format), hooks,
      tzDate: (at) => uPlot.tzDate(new Date(at * 1e3), "Etc/UTC"),
    }, this.data || [[], ...series().map(() => [])], this.place);
    this.plot = this.make();
    new ResizeObserver(() => this.plot.setSize({ width: this.place.clientWidth, height: CHART_PX })).observe(this.place);
  }
  set(data) { this.data = data; this.plot.setData(data); }
  redraw() { this.plot.destroy(); this.plot = this.make(); }
}

const legend = (digits) => (_, value) => (value === null || value === undefined ? "–" : digits === null ? price(value) : number(value, digits));
const equityChart = new Chart("equity", () => [
  { label: "equity", stroke: colour("--mark"), width: 2, points: { show: false }, value: legend(2) },
  { label: "balance", stroke: colour("--quiet"), dash: [4, 4], points: { show: false }, value: legend(2) },
  { label: "peak", stroke: colour("--good"), width: 1, points: { show: false }, value: legend(2) },
], (value) => number(value, 2));
const priceChart = new Chart("price", () => [
  { label: "mid", stroke: colour("--mark"), width: 2, spanGaps: true, points: { show: false }, value: legend(null) },
  { label: "bought", stroke: colour("--good"), paths: () => null, points: { show: true, size: 8, fill: colour("--good") }, value: legend(null) },
  { label: "sold", stroke: colour("--bad"), paths: () => null, points: { show: true, size: 8, fill: colour("--bad") }, value: legend(null) },
], (value) => price(value));

function drawEquity() {
  const rows = tapes.equity;
  equityChart.set([rows.map((row) => row.time_s), rows.map((row) => row.equity), rows.map((row) => row.balance), rows.map((row) => row.equity - row.drawdown)]);
}

function drawPrice() {
  const rows = tapes.prices.filter((row) => shownSymbol in row.mids), at = new Map();
  for (const row of rows) at.set(row.time_s, [row.mids[shownSymbol], null, null]);
  const first = rows.length ? rows[0].time_s : Infinity;
  for (const fill of tapes.fills) {
    const time = fill.time_us / 1e6, index = { Buy: 1, Sell: 2 }[fill.side];
    if (fill.symbol !== shownSymbol || time < first || !index) continue;
    const point = at.get(time) || [null, null, null];
    point[index] = fill.price;
    at.set(time, point);
  }
  const times = Array.from(at.keys()).sort((a, b) => a - b);
  priceChart.set([times, ...[0, 1, 2].map((index) => times.map((time) => at.get(time)[index]))]);
}

// The stream.

function take(message) {
  for (const [name, value] of Object.entries(message.panels)) {
    panels[name] = value;
    if (value !== null && draw[name]) draw[name](value);
  }
  for (const [name, { rows, is_whole }] of Object.entries(message.tapes)) {
    const tape = is_whole ? [] : tapes[name];
    tape.push(...rows);
    if (tape.length > LIMITS[name]) tape.splice(0, tape.length - LIMITS[name]);
    tapes[name] = tape;
  }
  if (message.tapes.equity) { drawEquity(); if (panels.account) draw.account(panels.account); }
  if (message.tapes.fills) drawFills();
  if (message.tapes.prices || message.tapes.fills) drawPrice();
  if (message.tapes.log) drawLog();
  ages = message.ages_ms;
  agesAt = performance.now();
  showAges();
}

function showAges() {
  const passed = performance.now() - agesAt;
  for (const section of document.querySelectorAll("section")) {
    const name = section.dataset.age || section.dataset.panel, known = ages[name];
    const age = known === null || known === undefined ? null : Math.max(0, known + passed);
    const isOff = (panels.engine || {}).broadcast === "" && ["market", "fills"].includes(section.dataset.panel);
    section.dataset.shownAge = isOff ? "turned off" : age === null ? "no data" : age < 1000 ? "now" : span(age / 1000);
    section.classList.toggle("stale", !isOff && (age === null || age > (STALE_MS[name] || STALE_MS.default)));
  }
}

function listen() { // each stream is told everything anew
  clearTimeout(retry);
  if (stream) stream.close();
  stream = new EventSource("/api/stream");
  stream.onopen = () => { byId("stream").textContent = "live"; };
  stream.onmessage = (event) => take(JSON.parse(event.data));
  stream.onerror = () => { // it tries again by itself, but not after an answer that is no stream
    byId("stream").textContent = "the page's server does not answer; trying again";
    if (stream.readyState === EventSource.CLOSED) retry = setTimeout(listen, RETRY_MS);
  };
}

// Each page holds a connection, of which a browser has six for one host: HALT must not wait behind pages nobody looks at.
document.addEventListener("visibilitychange", () => { if (document.hidden) stream.close(); else listen(); });

// Commands.

const token = new URLSearchParams(location.hash.slice(1)).get("token") || sessionStorage.getItem("token") || "";
if (token) {
  sessionStorage.setItem("token", token);
  history.replaceState(null, "", location.pathname);
}
byId(token ? "actions" : "looking").hidden = false;

function tell(text, level) {
  byId("told").hidden = false;
  byId("told").dataset.level = level;
  byId("told").textContent = text;
}

async function command(verb, argument) {
  tell(`${verb} …`, "asked");
  try {
    const answer = await fetch("/api/command", {
      method: "POST", headers: { "Content-Type": "application/json", Authorization: `Bearer ${token}` },
      body: JSON.stringify({ verb, argument }), signal: AbortSignal.timeout(COMMAND_MS),
    });
    const reply = await answer.json();
    tell(`${verb}: ${reply.response}`, answer.ok ? "ok" : "error");
  } catch (error) {
    tell(`It is not known whether ${verb} was carried out: the page's server does not answer (${error.message}). In a shell: seawall ${verb.toLowerCase()}`, "error");
  }
}

byId("halt").onclick = () => command("HALT", "from the page");
for (const button of document.querySelectorAll("button.asks")) {
  const text = button.textContent;
  let timer = 0;
  const calm = () => { clearTimeout(timer); button.classList.remove("sure"); button.textContent = text; timer = 0; };
  button.onclick = () => {
    if (timer) { calm(); return command(button.dataset.verb, button.dataset.verb === "FLATTEN" ? "" : "from the page"); }
    button.classList.add("sure");
    button.textContent = `${text}: sure?`;
    timer = setTimeout(calm, SURE_MS);
  };
}
byId("symbol").onchange = (event) => { shownSymbol = event.target.value; draw.market(panels.market || []); drawPrice(); };
byId("theme").onclick = () => {
  const isDark = matchMedia("(prefers-color-scheme: dark)").matches, now = document.documentElement.dataset.theme || (isDark ? "dark" : "light");
  document.documentElement.dataset.theme = now === "dark" ? "light" : "dark";
  equityChart.redraw();
  priceChart.redraw();
};
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { equityChart.redraw(); priceChart.redraw(); });
drawFills();
setInterval(showAges, 500);
listen();
