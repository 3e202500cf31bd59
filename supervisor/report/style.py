"""The report's style sheet, its one script and the symbols of its charts: ours to the last byte, nothing is fetched."""

from __future__ import annotations

import base64
import hashlib
from typing import Final

STYLE: Final = """
:root { color-scheme: light dark;
  --page:#f9f9f7; --card:#ffffff; --ink:#14140f; --soft:#5c5b55; --faint:#8b8a83; --line:#e3e2dc; --grid:#ecebe6;
  --blue:#2a78d6; --wash:#2a78d622; --red:#c8372d; --redwash:#c8372d26; --green:#08792f;
  --buy:#2a78d6; --sell:#d9581f; --gain:8 121 47; --loss:200 55 45 }
@media (prefers-color-scheme: dark) { :root {
  --page:#131312; --card:#1c1c1a; --ink:#f3f2ec; --soft:#b4b3aa; --faint:#85847c; --line:#343431; --grid:#2a2a27;
  --blue:#4f9bf0; --wash:#4f9bf026; --red:#f0776c; --redwash:#f0776c2b; --green:#57c47b;
  --buy:#58a2f2; --sell:#f08a4b; --gain:87 196 123; --loss:240 119 108 } }
* { box-sizing:border-box }
body { margin:0; background:var(--page); color:var(--ink); font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;
  -webkit-text-size-adjust:100% }
main, header, footer { max-width:1080px; margin:0 auto; padding:0 20px }
header { padding-top:32px }
h1 { font-size:26px; line-height:1.2; margin:0 0 4px; overflow-wrap:anywhere }
h2 { font-size:17px; margin:36px 0 10px }
p, .note { color:var(--soft); margin:6px 0; max-width:75ch; overflow-wrap:anywhere }
.note { font-size:13px }
ul.notes { margin:16px 0 0; padding:10px 14px 10px 30px; border:1px solid var(--line);
  border-left:3px solid var(--sell); border-radius:6px; background:var(--card); color:var(--soft) }
.tiles { display:grid; grid-template-columns:repeat(auto-fit,minmax(150px,1fr)); gap:10px; margin:20px 0 0; padding:0 }
.tiles div { background:var(--card); border:1px solid var(--line); border-radius:8px; padding:12px 14px }
.tiles dt { font-size:12px; color:var(--soft) }
.tiles dd { margin:2px 0 0; font-size:22px; font-weight:600; line-height:1.25; white-space:nowrap }
.tiles small { display:block; font-size:12px; font-weight:400; color:var(--soft); white-space:normal }
.up { color:var(--green) } .down { color:var(--red) }
.chart { margin:22px 0 0 }
figcaption { margin-bottom:8px } figcaption span { color:var(--soft); font-size:13px; margin-left:6px }
.plot { position:relative; margin:0 66px 30px 0; border-bottom:1px solid var(--line) }
.tall .plot { height:260px } .short .plot { height:130px }
.plot > svg { position:absolute; inset:0; width:100%; height:100%; overflow:visible; display:block }
.plot svg svg { overflow:hidden }
.plot path { vector-effect:non-scaling-stroke; fill:none }
path.grid { stroke:var(--grid) } path.base { stroke:var(--faint); stroke-dasharray:3 4 }
path.equity { stroke:var(--blue); stroke-width:1.8; stroke-linejoin:round } .plot path.range { fill:var(--wash) }
path.fall { stroke:var(--red); stroke-width:1.4; stroke-linejoin:round } .plot path.fallen { fill:var(--redwash) }
path.price { stroke:var(--faint); stroke-width:1.3; stroke-linejoin:round }
.plot path.prices { fill:var(--grid); stroke:var(--grid); stroke-width:1 }
.plot span { position:absolute; font-size:12px; color:var(--faint); white-space:nowrap;
  font-variant-numeric:tabular-nums }
.plot span.y { left:100%; margin-left:8px; transform:translateY(-50%) }
.plot span.x { top:100%; margin-top:4px; transform:translateX(-50%) }
.plot .cross { position:absolute; top:0; bottom:0; width:1px; background:var(--faint); pointer-events:none }
.plot output { position:absolute; top:6px; padding:4px 9px; border:1px solid var(--line); border-radius:6px;
  background:var(--card); color:var(--ink); font-size:12px; pointer-events:none; white-space:pre;
  font-variant-numeric:tabular-nums; z-index:1; box-shadow:0 2px 8px #0002 }
.legend { display:inline-flex; flex-wrap:wrap; gap:2px 14px; list-style:none; margin:0 0 0 10px; padding:0;
  font-size:13px; color:var(--soft) }
.key { width:13px; height:13px; margin-right:5px; vertical-align:-2px; overflow:visible }
.symbols { position:absolute; width:0; height:0 }
.b { fill:var(--buy) } .s { fill:var(--sell) } .b, .s { stroke:var(--page); stroke-width:1 }
.bo { stroke:var(--buy) } .so { stroke:var(--sell) } .bo, .so { fill:var(--page); stroke-width:1.6 }
.scroll { overflow-x:auto; border:1px solid var(--line); border-radius:8px; background:var(--card) }
table { border-collapse:collapse; width:100%; font-size:13px; font-variant-numeric:tabular-nums }
th, td { padding:5px 10px; text-align:right; white-space:nowrap; border-top:1px solid var(--grid) }
thead th { border-top:0; color:var(--soft); font-weight:500; background:var(--card) }
th.w, td.w { text-align:left } tbody th { font-weight:600; text-align:left } td.name { white-space:normal;
  overflow-wrap:anywhere; min-width:7em }
.trades { max-height:480px; overflow-y:auto } .trades thead th { position:sticky; top:0 }
td.gain { background:rgb(var(--gain) / var(--a)) } td.loss { background:rgb(var(--loss) / var(--a)) }
.facts { display:grid; grid-template-columns:1fr 1fr; gap:10px }
.facts dl { margin:0; padding:10px 14px; background:var(--card); border:1px solid var(--line); border-radius:8px }
.facts dl > div { display:flex; justify-content:space-between; gap:14px; padding:3px 0; font-size:14px }
.facts h3 { font-size:13px; margin:0 0 4px; color:var(--soft); font-weight:500 }
.facts dt { color:var(--soft) }
.facts dd { margin:0; text-align:right; flex:none; max-width:60%; font-variant-numeric:tabular-nums;
  overflow-wrap:anywhere }
small:empty { display:none !important }
.facts small { display:block; color:var(--faint); font-size:12px; max-width:36em }
details { margin-top:10px } summary { cursor:pointer; color:var(--soft) }
pre { overflow-x:auto; background:var(--card); border:1px solid var(--line); border-radius:8px; padding:12px 14px;
  font:12.5px/1.5 ui-monospace,"SF Mono",Menlo,Consolas,monospace }
footer { color:var(--faint); font-size:12px; padding-top:30px; padding-bottom:40px; overflow-wrap:anywhere }
@media (max-width:600px) {
  main, header, footer { padding-left:14px; padding-right:14px } header { padding-top:20px }
  h1 { font-size:22px } .facts { grid-template-columns:1fr }
  .tiles { grid-template-columns:1fr 1fr; gap:8px } .tiles dd { font-size:19px }
  .plot { margin-right:58px } .tall .plot { height:210px } .plot span.odd { display:none } .legend { margin-left:0 }
  .plot span.y { font-size:11px; margin-left:6px } figcaption span { display:block; margin-left:0 } }
@media print {
  :root { --page:#fff; --card:#fff; --ink:#000; --soft:#444; --faint:#777; --line:#ccc; --grid:#e8e8e8;
    --blue:#2a78d6; --wash:#2a78d622; --red:#c8372d; --redwash:#c8372d26; --green:#08792f; --buy:#2a78d6;
    --sell:#d9581f; --gain:8 121 47; --loss:200 55 45 }
  body { font-size:12px; -webkit-print-color-adjust:exact; print-color-adjust:exact }
  main, header, footer { max-width:none } h2 { break-after:avoid }
  .chart, .tiles div, .facts dl, tr { break-inside:avoid } .trades { max-height:none; overflow:visible }
  .scroll { overflow:visible; border:0 } th, td { padding:3px 6px } table { font-size:10.5px }
  pre { white-space:pre-wrap } summary { display:none } }
"""

SCRIPT: Final = """
for (const plot of document.querySelectorAll(".plot")) {
  const found = plot.querySelector("script");
  if (!found) continue;
  const data = JSON.parse(found.textContent), cross = plot.querySelector(".cross"), out = plot.querySelector("output");
  const hide = () => { cross.hidden = out.hidden = true; };
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("pointermove", event => {
    const box = plot.getBoundingClientRect(), at = (event.clientX - box.left) / box.width;
    let low = 0, high = data.x.length - 1;
    while (low < high) { const half = (low + high) >> 1; if (data.x[half] < at) low = half + 1; else high = half; }
    if (low > 0 && at - data.x[low - 1] < data.x[low] - at) low -= 1;
    if (at < 0 || at > 1) return hide();
    const time = new Date((data.from + data.seconds[low]) * 1000).toISOString().slice(0, 19).replace("T", " ");
    const show = one => one.name + "  " + one.values[low].toLocaleString("en-US",
      { minimumFractionDigits: one.digits, maximumFractionDigits: one.digits }) + one.unit;
    out.textContent = [time, ...data.series.map(show)].join("\\n");
    cross.hidden = out.hidden = false;
    cross.style.left = 100 * data.x[low] + "%";
    const left = data.x[low] * box.width;
    out.style.left = (left + out.offsetWidth + 16 > box.width ? left - out.offsetWidth - 10 : left + 10) + "px";
  });
}
addEventListener("beforeprint", () => { for (const one of document.querySelectorAll("details")) one.open = true; });
"""

SYMBOLS: Final = """<svg class="symbols" aria-hidden="true"><defs>
<path id="buy-key" class="b" d="M0-6L6 5H-6Z"/><path id="sell-key" class="s" d="M0 6L6-5H-6Z"/>
<path id="cover-key" class="bo" d="M0-6L6 5H-6Z"/><path id="close-key" class="so" d="M0 6L6-5H-6Z"/>
<path id="buy" class="b" d="M0 1L5 10H-5Z"/><path id="sell" class="s" d="M0-1L5-10H-5Z"/>
<path id="cover" class="bo" d="M0 1L5 10H-5Z"/><path id="close" class="so" d="M0-1L5-10H-5Z"/>
</defs></svg>"""
"""Buys stand below the price and point up, sells above it and down; hollow: they only reduce a position."""


def content_policy() -> str:
    """Nothing may be loaded, and no script but ours runs, whatever a name or a reason holds.

    Source: Content Security Policy Level 3, by <meta> and the hash of the script's text.
    """
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'"
