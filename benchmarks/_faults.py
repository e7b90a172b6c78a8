"""What a fault is, what is said of it, and the list of them."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from _bench import Bench, Ended

from llmcodec.temporary import PATTERN


@dataclass(frozen=True)
class Row:
    """codes: the exit codes expected and found of the commands that met the fault; line: what stderr said.

    said: stderr was at most one line, without a traceback. whole: nothing is lost, doubled or half-written, and the
    next run does what the first did not. outside: nothing outside of the output changed. tidy: no temporary file left.
    """

    fault: str
    codes: tuple[int, ...]
    line: str
    expected: bool
    said: bool
    whole: bool
    outside: bool
    tidy: bool

    @property
    def borne(self) -> bool:
        return self.expected and self.said and self.whole and self.outside and self.tidy


Fault = Callable[[str, Bench, int], Row]
FAULTS: dict[str, Fault] = {}


def fault(name: str, *arguments: Any) -> Callable[[Callable[..., Row]], Callable[..., Row]]:
    def add(function: Callable[..., Row]) -> Callable[..., Row]:
        FAULTS[name] = partial(_called, function, arguments)
        return function

    return add


def _called(function: Callable[..., Row], arguments: tuple[Any, ...], name: str, bench: Bench, seed: int) -> Row:
    return function(name, bench, *arguments, random.Random(f"{seed} {name}"))


def row(
    name: str, bench: Bench, before: str, ended: Sequence[Ended], whole: bool, codes: Sequence[int] = (2,)
) -> Row:  # fmt: skip
    texts = [one.errors.strip() for one in ended]
    said = all(len(text.splitlines()) <= 1 and "Traceback" not in text for text in texts)
    line = next((text for text in texts if text), "").replace(f"{bench.root}/", "")
    expected = all(one.code in codes for one in ended) and all(
        text or one.code in SILENT for text, one in zip(texts, ended, strict=True)
    )
    left = [
        path
        for path in bench.root.rglob("*")
        if path.match(PATTERN) or path.name.startswith((".unfinished", "unfinished"))
    ]
    return Row(
        name, tuple(one.code for one in ended), " ".join(line.split())[:300], expected, said, whole,
        bench.surroundings(bench.out) == before, not left,
    )  # fmt: skip


SILENT = (-signal.SIGKILL, 0, 1)  # killed, well, or nobody listens


def content(folder: Path, pattern: str = "*") -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob(pattern)) if p.is_file()}


def count(folder: Path, pattern: str) -> int:
    return len(list(folder.glob(pattern)))


def grown(folder: Path, had: int) -> bool:
    return count(folder, "0*") > had


def longer(file: Path, lines: int) -> bool:
    return file.exists() and file.read_bytes().count(b"\n") > lines


def step_of(out: Path) -> int:
    try:
        return int(json.loads((out / "last" / "step.json").read_text())["step"])
    except (OSError, ValueError):
        return 0


def visible(folder: Path) -> dict[str, bytes]:
    return {name: held for name, held in content(folder).items() if not name.startswith(".")}
