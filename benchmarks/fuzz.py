#!/usr/bin/env python3
"""Damaged files of every kind that a user may give: each is read, or refused by one line that names it.

    python benchmarks/fuzz.py --work FOLDER --out benchmarks/results/fuzz.json

Files are damaged from (seed, target, number). A process of its own reads them, with so much memory and time for each;
what it dies of, or anything else than success or an LLMCodecError, is a defect, and the file is kept in
FOLDER/offenders. A run that was stopped goes on where it was. Exits with code 1 if there are defects.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _common
import numpy as np
import torch
from _mutate import mutated
from _targets import Target, build_targets

from llmcodec.errors import LLMCodecError
from llmcodec.evaluation.provenance import provenance, write_json

BLOCK = 1000  # inputs after which what was found is written down
SECONDS = 20.0  # for one input


def main(argv: Sequence[str] | None = None) -> int:
    parser = _common.parser(__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for what was found so far, and offenders")
    parser.add_argument("--share", type=float, default=1.0, help="of the full counts")
    parser.add_argument("--only", help="targets whose name holds this")
    parser.add_argument("--memory", type=int, default=2048, help="MB that one input may take, beyond the libraries")
    arguments = parser.parse_args(argv)
    kept = arguments.work / "state.json"
    state: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    with tempfile.TemporaryDirectory() as folder, _common.progress() as tell:
        root = Path(folder)
        counts = {name: target.count for name, target in build_targets(root / "first").items()}
        for place, (name, full) in enumerate(counts.items()):
            if arguments.only and arguments.only not in name:
                continue
            wanted = round(full * arguments.share)
            found = state.setdefault(name, {"inputs": 0, "outcomes": {}, "defects": [], "slowest": 0.0, "peak": 0})
            while found["inputs"] < wanted:
                end = min(wanted, found["inputs"] + BLOCK)
                _block(root, name, (arguments.seed, place), end, found, arguments)
                write_json(kept, state)
                tell(name, found["inputs"], wanted)
    rows = [
        {
            "target": name,
            "inputs": found["inputs"],
            "read": found["outcomes"].get("read", 0),
            "refused": {kind: n for kind, n in sorted(found["outcomes"].items()) if kind != "read"},
            "defects": len(found["defects"]),
            "slowest_s": round(found["slowest"], 3),
            "peak_mb": found["peak"],
        }
        for name, found in state.items()
    ]
    content = {
        "inputs": sum(row["inputs"] for row in rows),
        "defects": [defect for found in state.values() for defect in found["defects"]],
        "limits": {"memory_mb": arguments.memory, "seconds": SECONDS},
        "rows": rows,
        "provenance": provenance(arguments.seed),
    }
    lines = [[row["target"], row["inputs"], row["read"], row["defects"], row["slowest_s"]] for row in rows]
    markdown = _common.table(["target", "inputs", "read", "defects", "slowest (s)"], lines)
    _common.report(arguments, content, markdown)
    return 1 if content["defects"] else 0


def _block(root: Path, name: str, seed: tuple[int, int], end: int, found: dict[str, Any], arguments: Any) -> None:
    """Inputs up to `end`, in a process that is begun anew behind an input that ended it."""
    context = multiprocessing.get_context("fork")
    while found["inputs"] < end:
        at = context.Array("d", [found["inputs"], time.monotonic()])
        ours, theirs = context.Pipe(duplex=False)
        folder = Path(tempfile.mkdtemp(dir=root))
        worker = context.Process(
            target=_work, args=(folder, name, seed, found["inputs"], end, at, theirs, arguments.memory)
        )
        worker.start()
        theirs.close()
        hung = False
        while worker.is_alive() and not hung:
            worker.join(0.2)
            hung = time.monotonic() - at[1] > SECONDS
        if hung:
            worker.kill()
            worker.join()
        results = []
        while ours.poll():
            try:
                results.append(ours.recv())
            except EOFError:
                break
        for outcomes, defects, slowest, peak in results:
            found["outcomes"] = dict(Counter(found["outcomes"]) + Counter(outcomes))
            found["defects"] += defects
            found["slowest"] = max(found["slowest"], slowest)
            found["peak"] = max(found["peak"], peak)
        number = int(at[0])
        if worker.exitcode or hung:
            reason = "hangs" if hung else f"ends the process ({worker.exitcode})"
            found["defects"].append({"target": name, "number": number, "reason": reason})
            number += 1
        found["inputs"] = number
        for defect in found["defects"]:
            _keep(arguments.work / "offenders", folder, name, seed, defect)
        shutil.rmtree(folder)


def _keep(offenders: Path, folder: Path, name: str, seed: tuple[int, int], defect: dict[str, Any]) -> None:
    target = build_targets(folder / "again")[name]
    shutil.rmtree(folder / "again")
    path = offenders / f"{name.replace(' ', '-').replace(',', '')}-{defect['number']}{Path(target.file).suffix}"
    if not path.exists():
        offenders.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content_of(target, seed, defect["number"]))


def content_of(target: Target, seed: tuple[int, int], number: int) -> bytes:
    return mutated(target.seeds, np.random.default_rng([*seed, number]), target.text)


def _work(
    folder: Path, name: str, seed: tuple[int, int], start: int, end: int, at: Any, tell: Any, memory: int
) -> None:
    """Read inputs start to end; at: the number of the one being read, and since when."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the MP3 decoder has much to say
    target = build_targets(folder / "root")[name]
    path = folder / "root" / target.file
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + memory * 2**20,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    outcomes: Counter[str] = Counter()
    defects, slowest = [], 0.0
    for number in range(start, end):
        begun = time.monotonic()
        at[0], at[1] = number, begun
        path.write_bytes(content_of(target, seed, number))
        outcome, defect = _outcome(target, path)
        outcomes[outcome] += 1
        slowest = max(slowest, time.monotonic() - begun)
        if defect:
            defects.append({"target": name, "number": number, "reason": defect})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    at[0], at[1] = end, time.monotonic()
    tell.send((dict(outcomes), defects, slowest, peak))


def _outcome(target: Target, path: Path) -> tuple[str, str | None]:
    """What came of reading: "read" or the kind of error, and what is wrong with that."""
    try:
        target.read(path)
    except LLMCodecError as error:
        text = str(error)
        if not text or len(text.splitlines()) > 1 or (target.named or path.parent.name) not in text:
            return type(error).__name__, f"a message that does not do: {text[:200]!r}"
        return type(error).__name__, None
    except Exception as error:
        place = error.__traceback__
        while place and place.tb_next:
            place = place.tb_next
        where = f"{Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}" if place else ""
        return type(error).__name__, f"{type(error).__name__} at {where}: {str(error)[:200]}"
    return "read", None


if __name__ == "__main__":
    _common.run(main)
