#!/usr/bin/env python3
"""How much of its vocabularies a codec uses: different words and entropy per layer and folder.

    python benchmarks/codebook_use.py --data FOLDER [FOLDER ...] --min-share 0.8

A folder is an audiofolder, or any folder with audio files below it; `all` is all folders together. Exits with code 1
if there the entropy of a layer is a smaller share of its bound than --min-share.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import _common

from llmcodec.audio import load_audio
from llmcodec.codec import AudioCodes, LLMCodec
from llmcodec.evaluation.dataset import audio_files
from llmcodec.evaluation.metrics import codebook_use
from llmcodec.evaluation.provenance import provenance

BATCH = 16


def main(argv: Sequence[str] | None = None) -> int:
    parser = _common.parser(__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--min-share", type=float, default=0.0, help="of log2 of the vocabulary's size, 0 to 1")
    arguments = parser.parse_args(argv)
    _common.set_threads(arguments)
    codec, named = _common.load_codec(arguments.codec, decodes=False)
    found: list[tuple[str, list[AudioCodes]]] = []
    with _common.progress() as tell:
        for folder in arguments.data:
            name = folder.resolve().name
            found.append((name, list(encode(codec, audio_files(folder), name, tell))))
    found.append(("all", [codes for _, batches in found for codes in batches]))
    rows = [
        {"data": name, "clips": sum(map(len, batches)), **use.as_dict()}
        for name, batches in found
        for use in codebook_use(codec, batches)
    ]
    low = [row for row in rows if row["data"] == "all" and row["share"] < arguments.min_share]
    content = {"codec": named, "min_share": arguments.min_share, "rows": rows, "provenance": provenance(arguments.seed)}
    lines = [
        [row["data"], row["layer"], row["codes"], f"{row['different']} of {row['words']}", f"{row['bits']:.2f}",
         f"{row['bound']:.2f}", f"{100 * row['share']:.0f} %"]
        for row in rows
    ]  # fmt: skip
    header = ["data", "layer", "codes", "different words", "bits", "bound", "share"]
    notes = [f"\n{row['layer']}: under {100 * arguments.min_share:.0f} %" for row in low]
    _common.report(arguments, content, "\n".join([_common.table(header, lines), *notes]))
    return 1 if low else 0


def encode(codec: LLMCodec, files: Sequence[Path], stage: str, tell: _common.Tell) -> Iterator[AudioCodes]:
    for start in range(0, len(files), BATCH):
        batch = files[start : start + BATCH]
        yield codec.encode([load_audio(file, codec.sample_rate) for file in batch])
        tell(stage, start + len(batch), len(files))


if __name__ == "__main__":
    _common.run(main)
