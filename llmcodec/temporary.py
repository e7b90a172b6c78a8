"""Files and folders are made under a hidden name beside their own and renamed; what a kill leaves is removed later."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

STALE_SECONDS = 3600.0
MARK = ".llmcodec-"  # of names that may be swept
PATTERN = MARK + 32 * "[0-9a-f]" + "*"


def beside(path: Path) -> Path:
    """A new hidden name in the folder of `path`, with its suffix.

    Such names that are an hour old are removed, once a process and folder.
    """
    _sweep(path.parent)
    return path.with_name(f"{MARK}{uuid.uuid4().hex}{path.suffix}")


@contextmanager
def atomic_output(path: Path) -> Iterator[Path]:
    """A name `beside` that becomes `path` if the block ends without an error, and is gone if not."""
    temporary = beside(path)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()


@cache
def _sweep(folder: Path) -> None:
    for left in folder.glob(PATTERN):
        try:
            if time.time() - left.stat().st_mtime < STALE_SECONDS:
                continue
        except OSError:  # it became what it was meant to be
            continue
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)
