"""Models that others made: where the user keeps them ($LLMCODEC_MODELS), and loading them quietly."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def locate(name: str) -> str:
    """A model's folder: the name itself, or a folder below $LLMCODEC_MODELS whose name is part of the hub id (the
    longest such: `minilm-l6` serves `sentence-transformers/all-MiniLM-L6-v2`); else the name, for the hub."""
    models = os.environ.get("LLMCODEC_MODELS")
    if not models or not Path(models).is_dir() or Path(name).is_dir():
        return name
    wanted = name.rsplit("/", 1)[-1].lower()
    fitting = [folder for folder in Path(models).iterdir() if folder.is_dir() and folder.name.lower() in wanted]
    return str(max(fitting, key=lambda folder: (len(folder.name), folder.name), default=name))


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Without the progress bars that transformers draws when it loads weights."""
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if bars:
            logging.enable_progress_bar()
