"""What a language model said so far, in a file, so that an interrupted evaluation goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from pydantic_core import from_json

from llmcodec import formats
from llmcodec.errors import ConfigError
from llmcodec.evaluation.baselines import Floats, Predictor
from llmcodec.evaluation.episodes import Episode
from llmcodec.locks import sole_use

FORMAT = "llmcodec-journal-1"


@contextmanager
def open_journal(path: Path, asked: Any) -> Iterator[Journal]:
    """The journal in a file, for one process at a time. ConfigError: see Journal, or another process has it."""
    try:
        path.touch()
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from error
    with sole_use(path):
        yield Journal(path, asked)


class Journal:
    """A JSON Lines file: what is being evaluated, then the scores of each method on each episode.

    asked: everything that the scores depend on. ConfigError when the file is of something else or damaged, but for its
    last line: a stop may have cut that, and the episode is asked again.
    """

    def __init__(self, path: Path, asked: Any) -> None:
        self.path = path
        digest = sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        head = json.dumps({"format": FORMAT, "evaluation": digest}).encode() + b"\n"
        self.known: dict[tuple[str, int], Floats] = {}
        try:
            content = path.read_bytes()
            if head.startswith(content):  # nothing, or what a stop left of the first line
                path.write_bytes(head)
                return
            whole = content[: content.rfind(b"\n") + 1]
            first, *lines = whole.split(b"\n")[:-1] or [content]
            self._check(_parsed(first), digest)
            for number, line in enumerate(lines, 2):
                self._take(_parsed(line), number)
            if whole != content:
                with path.open("r+b") as file:
                    file.truncate(len(whole))
        except OSError as error:
            raise _unwritable(path, error) from error

    def _check(self, head: Any, digest: str) -> None:
        said = head if isinstance(head, dict) else {}
        if fault := formats.fault(said.get("format"), FORMAT):
            raise ConfigError(f"{self.path}: {fault}")
        if said.get("evaluation") != digest:
            raise ConfigError(f"{self.path}: is of another evaluation; give another file or remove it")

    def _take(self, row: Any, number: int) -> None:
        try:
            self.known[str(row["method"]), int(row["episode"])] = np.array(row["scores"], dtype=np.float64)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ConfigError(
                f"{self.path}: line {number}: is damaged; remove the line, and it is asked again"
            ) from error

    def kept(self, method: str, predictor: Predictor) -> Predictor:
        """`predictor`, for episodes in their order, that is only asked what is not in the file."""
        number = -1

        def scores(episode: Episode) -> Floats:
            nonlocal number
            number += 1
            if (method, number) not in self.known:
                found = predictor(episode)
                row = {"method": method, "episode": number, "scores": found.tolist()}
                try:
                    with self.path.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(row) + "\n")
                except OSError as error:
                    raise _unwritable(self.path, error) from error
                return found
            kept = self.known[method, number]
            if kept.shape != (len(episode.queries), len(episode.labels)) or not np.isfinite(kept).all():
                raise ConfigError(f"{self.path}: episode {number} of {method}: is damaged; remove its line")
            return kept

        return scores


def _parsed(line: bytes) -> Any:
    try:
        return from_json(line)
    except ValueError:
        return None


def _unwritable(path: Path, error: OSError | ValueError) -> ConfigError:
    return ConfigError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}")
