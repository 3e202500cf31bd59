"""For everybody outside the engine: commands, telemetry and the broadcast, over the public sockets and nothing else.

    from protocol.client import ControlClient, TelemetrySubscriber
    print(ControlClient("tcp://127.0.0.1:5556").status())
    for event in TelemetrySubscriber("tcp://127.0.0.1:5557"): print(event)

    control.py    one request, one reply, and a plain word about why there is none
    telemetry.py  typed events, and whether any was missed
    broadcast.py  ticks, bars, trades ... as records, or in batches for NumPy
    aio.py        the same three for asyncio (imported by itself: `from protocol.client.aio import ...`)
    running.py    whether an engine runs in a run_dir, and where its control socket is

The CLI and the dashboards reach the engine through this package alone. It needs pyzmq, msgpack and msgspec.
"""

from protocol.client.broadcast import BroadcastSubscriber
from protocol.client.control import ControlClient
from protocol.client.running import LOCK_NAME, control_endpoint, desk_endpoint, engine_pid, process_is_alive
from protocol.client.telemetry import Gap, TelemetrySubscriber, UnknownEvent

__all__ = [
    "LOCK_NAME",
    "BroadcastSubscriber",
    "ControlClient",
    "Gap",
    "TelemetrySubscriber",
    "UnknownEvent",
    "control_endpoint",
    "desk_endpoint",
    "engine_pid",
    "process_is_alive",
]
