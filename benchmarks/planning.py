#!/usr/bin/env python3
"""What a corpus costs: words, bytes and CPU hours for so many hours of audio, from rates that were measured.

    python benchmarks/planning.py --data DEV/speech DEV/sounds --out benchmarks/results/planning.json

The time to encode and to decode comes from results/speed.json (the longest stream), the time that the language model
takes to read a clip from results/engine.json; the size of Parquet shards is measured here, on the folders of --data.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import _common

from llmcodec.errors import ConfigError
from llmcodec.evaluation.provenance import provenance

RESULTS = Path(__file__).parent / "results"
HOURS = (1_000, 1_000_000)
PCM_BYTES = 2  # a sample, before it is encoded


def main(argv: Sequence[str] | None = None) -> int:
    parser = _common.parser(__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of audio, for the size of shards")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of speed.json and engine.json")
    arguments = parser.parse_args(argv)
    _common.set_threads(arguments)
    codec, named = _common.load_codec(arguments.codec)
    speed, engine = (_result(arguments.results / f"{name}.json") for name in ("speed", "engine"))
    hour = 3600.0
    rates = {
        "words of all layers": codec.tokens_per_second * hour,
        f"words of the layer {codec.layer_names[0]}": codec.frame_rate / codec.strides[0] * hour,
        "bytes of 16-bit audio": codec.sample_rate * PCM_BYTES * hour,
        "bytes of the words, packed": codec.bits_per_second / 8 * hour,
        "bytes of Parquet shards": _shard_bytes(arguments.data, arguments.codec) * hour,
        "CPU hours to encode": _core_hours(speed, "encode"),
        "CPU hours to decode": _core_hours(speed, "decode"),
        "CPU hours to classify": _core_hours_to_read(engine),
    }
    rows = [{"what": what, "one_hour": rate, **{str(n): rate * n for n in HOURS}} for what, rate in rates.items()]
    content = {
        "codec": named,
        "data": [folder.name for folder in arguments.data],
        "hours": HOURS,
        "rows": rows,
        "gpu": None,  # no rate was measured on one
        "provenance": provenance(arguments.seed),
    }
    head = ["", "1 hour", *(f"{n} hours" for n in HOURS)]
    lines = [[row["what"], *(f"{row[key]:.3g}" for key in ("one_hour", *map(str, HOURS)))] for row in rows]
    _common.report(arguments, content, _common.table(head, lines))
    return 0


def _result(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; benchmarks/{path.stem}.py writes it") from error


def _core_hours(speed: dict[str, Any], step: str) -> float:
    """Hours of one core for an hour of audio, from the longest stream of the codec alone."""
    rows = [row for row in speed["rows"] if row["alone"] and row["step"] == step]
    longest = max(rows, key=lambda row: row["seconds"])
    return speed["provenance"]["threads"] / longest["times_real_time"]


def _core_hours_to_read(engine: dict[str, Any]) -> float:
    """The same for `knn`, whose language model reads every clip once."""
    (row,) = (row for row in engine["rows"] if row["scorer"] == "knn")
    return engine["provenance"]["threads"] * row["once_s"] / engine["seconds_per_query"]


def _shard_bytes(folders: Sequence[Path], codec: str | None) -> float:
    """Bytes of Parquet shards for a second of audio."""
    import pyarrow.parquet

    from llmcodec.scale import Tokenization

    size = samples = 0
    with TemporaryDirectory() as work:
        for number, folder in enumerate(folders):
            made = Tokenization(folder, Path(work) / str(number), codec)
            made.run(lambda done, total: None)
            size += sum(file.stat().st_size for file in made.out.glob("*.parquet"))
            samples += sum(pyarrow.parquet.read_table(made.out, columns=["samples"])["samples"].to_pylist())
    return size * made.model.sample_rate / samples


if __name__ == "__main__":
    _common.run(main)
