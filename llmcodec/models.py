"""Where models of the user's own lie: $LLMCODEC_MODELS."""

from __future__ import annotations

import os
from pathlib import Path


def locate(name: str) -> str:
    """A model's folder: the name itself, or the last part of it below $LLMCODEC_MODELS; else the name, for the hub."""
    models = os.environ.get("LLMCODEC_MODELS")
    if models and not Path(name).is_dir():
        wanted = name.rsplit("/", 1)[-1].lower()
        for folder in sorted(Path(models).iterdir()) if Path(models).is_dir() else []:
            if folder.is_dir() and wanted.startswith(folder.name.lower()):
                return str(folder)
    return name
