"""What a process of the engine may take: memory of its own, descriptors, processors."""

from __future__ import annotations

import os
import resource

from protocol.errors import ConfigError
from protocol.settings import ProcessLimits


def keep_within(name: str, limits: ProcessLimits) -> None:
    """This process, and what it forks. Raises: ConfigError if the system does not allow it.

    The gateway keeps within `files` by itself (outsiders.py): where descriptors do run out, libzmq aborts it.
    """
    try:
        if limits.memory_mb:
            resource.setrlimit(resource.RLIMIT_DATA, (limits.memory_mb << 20, limits.memory_mb << 20))
        if limits.files and name != "gateway":
            resource.setrlimit(resource.RLIMIT_NOFILE, (limits.files, limits.files))
        if limits.cpus:
            os.sched_setaffinity(0, limits.cpus)
    except (OSError, ValueError) as error:
        cpus, files = sorted(os.sched_getaffinity(0)), resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        here = f"there are processors {cpus} and at most {files} files"
        raise ConfigError([f"supervisor.limits.{name}: {error}; {here}"]) from error
