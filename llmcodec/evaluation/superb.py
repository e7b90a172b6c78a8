"""Task folders of Dynamic-SUPERB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmcodec.errors import ConfigError
from llmcodec.evaluation.provenance import read_json

TASK = "metadata.json"


def read_superb(folder: Path) -> list[dict[str, str]]:
    """What metadata.json of a task's split says of each clip: `file`, `label` and its other cells, as text.

    It maps file names to {"instruction": ..., "label": ...}. The instruction is left to the templates of this package.

    Raises ConfigError: no such file, an entry without label, or one that asks about two clips (file2).
    """
    path = folder / TASK
    content = read_json(path)
    if not content:
        raise ConfigError(f"{path}: must map file names to their label, as the tasks of Dynamic-SUPERB do")
    return [_cells(path, name, entry) for name, entry in content.items()]


def _cells(path: Path, name: str, entry: Any) -> dict[str, str]:
    if not isinstance(entry, dict) or not str(entry.get("label") or "").strip():
        raise ConfigError(f"{path}: {name}: has no label")
    if entry.get("file2"):
        raise ConfigError(f"{path}: {name}: asks about two clips at once, which few-shot episodes of clips cannot")
    cells = {key: "" if value is None else str(value).strip() for key, value in entry.items()}
    return {**cells, "file": name}
