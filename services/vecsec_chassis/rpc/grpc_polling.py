"""How gRPC's core waits for the network in our processes.

By default its event engine has threads of its own: one waits, others read and write, and hand over to the thread that
Python's side waits in, which wakes the event loop. Without it that thread waits itself: two wake-ups less for each
message. For a call that goes through three processes this saves a fifth to a third of the wire's time, and as much of
its processor time (`make bench ARGS="--only floor"` measures it so; GRPC_EXPERIMENTS= before it shows it with).
"""

import os

VARIABLE = "GRPC_EXPERIMENTS"
WITHOUT_EVENT_ENGINE = "-event_engine_client,-event_engine_listener"


def poll_directly() -> None:
    """Choose that, unless the environment says otherwise; to be called before gRPC is imported.

    A version of gRPC that has no such choice any more says so in a line of its log, and does as it does.
    """
    os.environ.setdefault(VARIABLE, WITHOUT_EVENT_ENGINE)
