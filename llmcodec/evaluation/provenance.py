"""Where a number comes from: machine, date, commit, seed, threads. And writing it down whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pydantic_core import from_json
from torch import nn

from llmcodec.errors import ConfigError
from llmcodec.temporary import atomic_output


def provenance(seed: int) -> dict[str, Any]:
    """What a reader needs to judge and repeat a measurement. Names neither the host nor any folder."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": _commit(),
        "seed": seed,
        "threads": torch.get_num_threads(),
        "machine": {
            "processor": _processor(),
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
    }


def digest(model: nn.Module, without: str | None = None) -> str:
    """The first 12 hex digits of the SHA-256 over a model's weights, in the order of their names.

    without: leave out those whose names begin so. Without "decoder.", two codecs of one digest give the same codes.
    """
    sha = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if without and name.startswith(without):
            continue
        sha.update(name.encode())
        sha.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()[:12]


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 file under a temporary name and rename it. ConfigError if that is not possible."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_output(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error


def write_json(path: str | Path, content: Any) -> None:
    """`write_text` of JSON with two spaces."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> dict[str, Any]:
    """The JSON object in a file. ConfigError: it cannot be read, or holds none."""
    try:
        content = from_json(Path(path).read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: no valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold a JSON object")
    return content


def _commit() -> str | None:
    """The commit of the package, with + behind it when files of the package differ; None outside of a repository."""
    package = Path(__file__).parents[1]
    git = ["git", "--no-optional-locks", "-C", str(package)]
    try:
        tracked = subprocess.run([*git, "ls-files", "--error-unmatch", "__init__.py"], capture_output=True)
        if tracked.returncode:
            return None
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        status = subprocess.run([*git, "status", "--porcelain", "."], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip()[:12] + "+" * bool(status.stdout.strip())


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
