#!/usr/bin/env python3
"""Memory and open files of a process that encodes and decodes one clip after another.

    python benchmarks/leaks.py --out benchmarks/results/leaks.json

Each round reads a file, encodes it, writes and reads its codes, decodes them and writes the sound. Exits with code 1 if
memory grows by more than --allowed MB, or any file stays open, between the two counts.
"""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import _common
from _targets import RATE, tone

from llmcodec.audio import load_audio, save_audio
from llmcodec.codec import AudioCodes, LLMCodec
from llmcodec.evaluation.provenance import provenance


def main(argv: Sequence[str] | None = None) -> int:
    parser = _common.parser(__doc__)
    parser.add_argument("--counts", type=int, nargs=2, default=[1_000, 10_000], help="rounds after which to look")
    parser.add_argument("--allowed", type=float, default=20.0, help="MB between them")
    arguments = parser.parse_args(argv)
    _common.set_threads(arguments)
    codec, named = _common.load_codec(arguments.codec)
    first, last = arguments.counts
    rows = []
    with tempfile.TemporaryDirectory() as folder, _common.progress() as tell:
        clips = []
        for number in range(8):
            clips.append(Path(folder) / f"clip{number}.{'flac' if number % 2 else 'wav'}")
            save_audio(clips[-1], tone(RATE // 4 + 500 * number))
        for done in range(1, last + 1):
            once(codec, clips[done % len(clips)], Path(folder))
            tell("rounds", done, last)
            if done in (first, last):
                gc.collect()
                rows.append({"rounds": done, "memory_mb": round(memory(), 1), "open_files": open_files()})
    growth = round(rows[-1]["memory_mb"] - rows[0]["memory_mb"], 1)
    opened = rows[-1]["open_files"] - rows[0]["open_files"]
    content = {
        "codec": named,
        "rows": rows,
        "growth_mb": growth,
        "allowed_mb": arguments.allowed,
        "more_open_files": opened,
        "provenance": provenance(arguments.seed),
    }
    head = ["rounds", "memory (MB)", "open files"]
    markdown = _common.table(head, [[row["rounds"], row["memory_mb"], row["open_files"]] for row in rows])
    _common.report(arguments, content, markdown)
    return int(growth > arguments.allowed or opened > 0)


def once(codec: LLMCodec, clip: Path, folder: Path) -> None:
    codes = codec.encode(load_audio(clip, codec.sample_rate))
    codes.save(folder / "codes.safetensors")
    wave = codec.decode(AudioCodes.load(folder / "codes.safetensors"))[0]
    save_audio(folder / "copy.wav", wave, codec.sample_rate, overwrite=True)


def memory() -> float:
    """Resident memory of this process, MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


if __name__ == "__main__":
    _common.run(main)
