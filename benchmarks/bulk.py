#!/usr/bin/env python3
"""`llmcodec tokenize` at size: how fast, and whether kills and workers change a byte of the shards.

    python benchmarks/bulk.py --data FOLDER --out benchmarks/results/bulk.json

Takes so many clips of a folder, drawn by the seed, and makes their shards three times: in one go, killed (SIGKILL) at
random moments and begun again, and by workers of Ray. Exits with code 1 if the files differ.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _common
from _reliability_tables import bulk_table

from llmcodec.audio import audio_info
from llmcodec.errors import AudioError, ConfigError
from llmcodec.evaluation.dataset import audio_files
from llmcodec.evaluation.provenance import provenance


def main(argv: Sequence[str] | None = None) -> int:
    parser = _common.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="audiofolder, or a folder of audio files")
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--per-shard", type=int, default=100)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2, help="of Ray; 0: without")
    parser.set_defaults(threads=1)
    arguments = parser.parse_args(argv)
    _common.set_threads(arguments)
    draw = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        found = audio_files(arguments.data)
        clips = draw.sample(found, min(arguments.clips, len(found)))
        seconds = _linked(clips, root / "clips")
        command = [sys.executable, "-m", "llmcodec", "tokenize", str(root / "clips")]
        options = ["--per-shard", str(arguments.per_shard), "--threads", str(arguments.threads), "--json"]
        options += ["--codec", arguments.codec] if arguments.codec else []
        whole = _timed([*command, str(root / "whole"), *options])
        killed = _killed([*command, str(root / "killed"), *options], arguments.kills, whole["wall_s"], draw)
        runs = [{"run": "one process", **whole}]
        if arguments.workers:
            spread = [*command, str(root / "ray"), *options, "--workers", str(arguments.workers)]
            by_ray = _timed(spread) | {"cpu_s": None}  # its workers are no children of ours
            runs.append({"run": f"{arguments.workers} workers of Ray", **by_ray})
        expected = _content(root / "whole")
        same = {name: _content(root / name) == expected for name in ("killed", "ray") if (root / name).is_dir()}
        size = sum(map(len, expected.values()))
    for row in runs:
        row["audio_s_per_s"] = round(seconds / row["wall_s"], 1)
        row["audio_s_per_cpu_s"] = row["cpu_s"] and round(seconds / row["cpu_s"], 1)
    content = {
        "data": {"clips": len(clips), "seconds": round(seconds, 1), "per_shard": arguments.per_shard},
        "shards": {"files": len(expected), "megabytes": round(size / 1e6, 2)},
        "runs": runs,
        "kills": killed,
        "same_bytes": same,
        "codec": _common.codec_name(arguments.codec),
        "load": [round(value, 1) for value in os.getloadavg()],
        "provenance": provenance(arguments.seed),
    }
    _common.report(arguments, content, bulk_table(content))
    return 0 if all(same.values()) else 1


def _linked(clips: Sequence[Path], folder: Path) -> float:
    """Links to the clips in a folder; their seconds together."""
    folder.mkdir()
    seconds = 0.0
    for number, clip in enumerate(clips):
        os.symlink(clip.resolve(), folder / f"{number:06}{clip.suffix}")
        try:
            seconds += audio_info(clip).seconds
        except AudioError:
            continue
    return seconds


def _timed(command: Sequence[str]) -> dict[str, Any]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    ended = subprocess.run(command, capture_output=True, text=True)
    wall = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode:
        raise ConfigError(f"{' '.join(command[2:4])}: {ended.stderr.strip()[-300:]}")
    told = json.loads(ended.stdout)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": round(wall, 1), "cpu_s": round(cpu, 1), "encoding_s": told["seconds"], "clips": told["clips"]}


def _killed(command: Sequence[str], kills: int, whole: float, draw: random.Random) -> list[dict[str, int]]:
    """Begin, kill and begin again, and at last run to the end."""
    out = Path(command[5])
    rows: list[dict[str, int]] = []
    while len(rows) < kills:
        before = len(list(out.glob("0*.parquet")))
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while process.poll() is None and len(list(out.glob("0*.parquet"))) == before:
            time.sleep(0.01)
        time.sleep(draw.random() * whole / (kills + 2))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        left = len(list(out.glob(".*")))
        rows.append({"shards": len(list(out.glob("0*.parquet"))), "unfinished": left})
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return rows


def _content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


if __name__ == "__main__":
    _common.run(main)
