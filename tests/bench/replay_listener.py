"""A SUB process that takes TICK broadcasts one by one, as a dashboard would, and says how many there were.

    python -m tests.bench.replay_listener ENDPOINT TICKS

Prints `subscribed`, then, after the TICKS-th, one JSON line: how many came, the wall time of the last, and whether all
came in order. Without the last one it waits; whoever started it ends it.
"""

from __future__ import annotations

import json
import sys
from struct import Struct
from time import time
from typing import Final

import zmq

TICK: Final = Struct("<BIQqq")
"""Topic, symbol id, time, bid, ask: as the README gives it to any outsider."""
LOOKED_AT: Final = 4096
"""Every so many the time is looked at: what comes twice or out of order would have to hide between."""


def main() -> None:
    endpoint, ticks = sys.argv[1], int(sys.argv[2])
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.setsockopt(zmq.RECONNECT_IVL, 10)
        socket.subscribe(b"\0")
        socket.connect(endpoint)
        print("subscribed", flush=True)
        receive, newest_us, is_ordered, frame = socket.recv, 0, True, b""
        for number in range(ticks):
            frame = receive()
            if number % LOOKED_AT == 0:
                time_us = TICK.unpack(frame)[2]
                is_ordered = is_ordered and time_us > newest_us
                newest_us = time_us
        said = {"ticks": ticks, "ended": time(), "is_ordered": is_ordered, "last_us": TICK.unpack(frame)[2]}
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
