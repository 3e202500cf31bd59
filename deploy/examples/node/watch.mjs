// A client in another language: reads both feeds of an engine, and halts it when told to.
//
//     npm install && node watch.mjs                  # what comes, until Ctrl-C
//     node watch.mjs --ticks 5 --halt "enough"       # five ticks, then HALT, and what the engine says of it
//
// --command, --telemetry, --broadcast name other endpoints than 127.0.0.1:5556, 5557, 5555. One line of JSON for each
// thing heard. The formats: protocol/README.md, sections 3 to 5. It imports nothing of Seawall.
import { parseArgs } from "node:util";
import { Request, Subscriber } from "zeromq";

const TICK = 0; // the topic: a message's first byte
const TICK_BYTES = 29; // <BIQqq: topic, symbol_id, timestamp, bid, ask; little-endian, packed
const REPLY_TIMEOUT_MS = 5000; // a gateway answers within 50 ms, or never

const { values: options } = parseArgs({
  options: {
    command: { type: "string", default: "tcp://127.0.0.1:5556" },
    telemetry: { type: "string", default: "tcp://127.0.0.1:5557" },
    broadcast: { type: "string", default: "tcp://127.0.0.1:5555" },
    ticks: { type: "string", default: "0" }, // leave after so many; 0: never
    halt: { type: "string" }, // the reason
  },
});

function say(fact) {
  console.log(JSON.stringify(fact));
}

// 64-bit integers are BigInt; prices are in 1e-6, and exact in a double below 2^53.
function decodeTick(record) {
  return {
    symbol_id: record.readUInt32LE(1),
    time: new Date(Number(record.readBigUInt64LE(5) / 1000n)).toISOString(),
    bid: Number(record.readBigInt64LE(13)) / 1e6,
    ask: Number(record.readBigInt64LE(21)) / 1e6,
  };
}

// A request is one frame of text, the reply one frame of JSON. A REQ socket that got no answer is of no use any more:
// each request has a new one.
async function ask(text) {
  const socket = new Request({ receiveTimeout: REPLY_TIMEOUT_MS, linger: 0 });
  try {
    socket.connect(options.command);
    await socket.send(text);
    const [reply] = await socket.receive();
    return JSON.parse(reply.toString());
  } finally {
    socket.close();
  }
}

function subscribe(endpoint, ...topics) {
  const socket = new Subscriber();
  socket.subscribe(...topics);
  socket.connect(endpoint);
  return socket;
}

// Ends when HALT is heard. `onJoined` is called with the first message, a heartbeat at the latest: a PUB socket tells nobody
// what was sent before he had joined.
async function readTelemetry(socket, onJoined) {
  for await (const [frame] of socket) {
    onJoined();
    const event = JSON.parse(frame.toString()); // its "type" is the first key, by which one subscribes
    if (event.type !== "heartbeat") say(event);
    if (event.type === "trading_state" && event.state === "HALTED") return;
  }
}

async function readTicks(socket, names, count) {
  let seen = 0;
  for await (const [record] of socket) {
    if (record[0] !== TICK || record.length !== TICK_BYTES) throw new Error(`no tick: ${record.toString("hex")}`);
    const { symbol_id, ...tick } = decodeTick(record);
    say({ type: "tick", symbol: names.get(symbol_id), ...tick });
    if (++seen === count) return;
  }
}

const { symbols } = await ask("SYMBOLS");
const names = new Map(symbols.map(({ symbol_id, symbol }) => [symbol_id, symbol]));
const telemetry = subscribe(options.telemetry, "");
const broadcast = subscribe(options.broadcast, Buffer.from([TICK]));

let halted;
const joined = new Promise((resolve) => (halted = readTelemetry(telemetry, resolve)));
await readTicks(broadcast, names, Number(options.ticks));
broadcast.close();
if (options.halt !== undefined) {
  await joined;
  say({ type: "reply", ...(await ask(`HALT ${options.halt}`)) });
  await halted; // the same news, as everybody hears it
}
telemetry.close();
