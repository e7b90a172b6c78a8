"""One process at a time in a folder or file that several would spoil."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmcodec.errors import ConfigError


@contextmanager
def sole_use(path: Path, wait: bool = False) -> Iterator[None]:
    """Lock a folder or file that is there until the block or the process ends, however it ends; it writes nothing.

    ConfigError when another process has it; with `wait`, that one is waited for. Where the system or the file system
    has no such locks (Windows, some network drives) nothing is locked.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise ConfigError(f"{path}: another process is at work there; wait for it or stop it") from error
        except OSError:
            pass
        yield
    finally:
        os.close(handle)
