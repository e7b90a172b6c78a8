"""Where models of the user's own lie: $LLMCODEC_MODELS."""

from __future__ import annotations

import os
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
