"""Audio in bulk to Parquet shards of words, in pieces that any number of workers can do and do again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from llmcodec import formats
from llmcodec.audio import audio_digest
from llmcodec.codec import AudioCodes, LLMCodec, join_codes
from llmcodec.errors import AudioError, ConfigError, LLMCodecError, first_line
from llmcodec.evaluation.provenance import digest, read_json, write_json
from llmcodec.locks import sole_use
from llmcodec.temporary import PATTERN, atomic_output
from llmcodec.training.sources import Clip, ClipSource, open_source

if TYPE_CHECKING:
    import pyarrow

FORMAT = "llmcodec-words-1"
PLAN = "_words.json"  # readers of Parquet folders leave out what begins so
BATCH_SECONDS = 60.0  # of audio that are encoded together
Row = dict[str, Any]


@dataclass(frozen=True)
class Tokenization:
    """Clips of `data` (see `open_source`) to `out/00000.parquet`, `out/00001.parquet` ..., `per_shard` clips each.

    A row is a clip: `file`, `samples` at the codec's rate, `sha256` of those samples, and for each layer its codes
    (`semantic`), how many (`semantic_length`) and as words with a space between (`semantic_words`). A clip that cannot
    be read has its reason in `error` and nothing else. The schema's metadata names the format and the codec, and holds
    its vocabularies; `out/_words.json` says what was asked for.

    A shard depends on the clips and the codec alone, and is there whole or not at all; so a run that was cut off goes
    on where it was, and any number of workers give the same files. codec: folder or hub id, None: that in the package.
    """

    data: Path
    out: Path
    codec: str | None = None
    per_shard: int = 1000

    @cached_property
    def source(self) -> ClipSource:
        return open_source(self.data)

    @cached_property
    def model(self) -> LLMCodec:
        return LLMCodec.from_pretrained(self.codec)

    @cached_property
    def weights(self) -> str:
        """The digest of what gives the codes: a better decoder of the same ones changes no shard."""
        return digest(self.model, without="decoder.")

    def shard(self, number: int) -> Path:
        return self.out / f"{number:05}.parquet"

    def begin(self) -> list[int]:
        """The shards that are still to be made. ConfigError: no clips, or `out` holds words of something else."""
        if self.per_shard < 1:
            raise ConfigError(f"{self.per_shard} clips in a shard; it must be 1 or more")
        clips = self.source.clips
        listed = [[clip.file, self.source.stamp(clip)] for clip in clips]
        plan = {
            "format": FORMAT,
            "clips": len(clips),
            "clips_sha256": sha256(json.dumps(listed).encode()).hexdigest(),
            "codec": self.weights,
            "clips_per_shard": self.per_shard,
        }
        kept = self.out / PLAN
        if kept.is_file():
            found = read_json(kept)
            if fault := formats.fault(found.get("format"), FORMAT):
                raise ConfigError(f"{kept}: {fault}")
            if found != plan:
                raise ConfigError(f"{self.out}: holds words of other clips, another codec or other shards")
        elif self.out.is_dir() and any(self.out.iterdir()):
            raise ConfigError(f"{self.out}: is not empty; give a new folder")
        else:
            write_json(kept, plan)
        count = -(-len(clips) // self.per_shard)
        return [number for number in range(count) if not self.shard(number).exists()]

    def write(self, number: int) -> tuple[int, int]:
        """Make one shard. Returns its clips, and how many of them could not be read."""
        import pyarrow.parquet

        clips = self.source.clips[number * self.per_shard : (number + 1) * self.per_shard]
        rows = self._rows(clips)
        table = pyarrow.Table.from_pylist(rows, schema=self._schema)
        path = self.shard(number)
        try:
            with atomic_output(path) as temporary:
                pyarrow.parquet.write_table(table, temporary, compression="zstd")
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror or first_line(error)}") from error
        return len(rows), sum(row["error"] is not None for row in rows)

    def _rows(self, clips: list[Clip]) -> list[Row]:
        """One row for each clip; what is encoded together depends on the clips of the shard alone."""
        rows: list[Row] = []
        waiting: list[tuple[int, torch.Tensor]] = []
        for place, clip in enumerate(clips):
            rows.append({"file": clip.file, "error": None})
            try:
                wave = self.source.read(clip)
            except AudioError as error:
                rows[place]["error"] = str(error).replace(f"{self.data}{os.sep}", "")
                continue
            rows[place] |= {"samples": len(wave), "sha256": audio_digest(wave)}
            if len(wave) > BATCH_SECONDS * self.model.sample_rate:
                pieces = self.model.stream_encode(wave.split(self.model.sample_rate))
                rows[place] |= self._cells(join_codes(list(pieces)))
                continue
            waiting.append((place, wave))
            if sum(len(one) for _, one in waiting) >= BATCH_SECONDS * self.model.sample_rate:
                self._encode(waiting, rows)
                waiting = []
        if waiting:
            self._encode(waiting, rows)
        return rows

    def _encode(self, waiting: list[tuple[int, torch.Tensor]], rows: list[Row]) -> None:
        codes = self.model.encode([wave for _, wave in waiting])
        for number, (place, _) in enumerate(waiting):
            rows[place] |= self._cells(codes[number])

    def _cells(self, codes: AudioCodes) -> Row:
        cells: Row = {}
        for name, words, layer in zip(self.model.layer_names, self.model.vocabularies, codes.layers, strict=True):
            row = layer[0].tolist()
            cells |= {name: row, f"{name}_length": len(row), f"{name}_words": " ".join(words.words[n] for n in row)}
        return cells

    @cached_property
    def _schema(self) -> pyarrow.Schema:
        import pyarrow

        kinds = {"file": pyarrow.string(), "samples": pyarrow.int64(), "sha256": pyarrow.string()}
        for name in self.model.layer_names:
            kinds |= {
                name: pyarrow.list_(pyarrow.int32()),
                f"{name}_length": pyarrow.int32(),
                f"{name}_words": pyarrow.string(),
            }
        about = {
            "format": FORMAT,
            "codec": self.weights,
            "sample_rate": self.model.sample_rate,
            "words": {
                name: list(words.words)
                for name, words in zip(self.model.layer_names, self.model.vocabularies, strict=True)
            },
        }
        return pyarrow.schema([*kinds.items(), ("error", pyarrow.string())], {"llmcodec": json.dumps(about)})

    def run(self, progress: Callable[[int, int], None], workers: int | None = None) -> tuple[int, int]:
        """Make all shards that are missing. Returns the clips written now, and how many of them could not be read.

        workers: None: one after another, in this process; else by so many of Ray Data, here or wherever the cluster
        that `ray` finds has room. ConfigError: see `begin`, another process is at work in `out`, it cannot be written,
        or `ray` is missing.
        """
        missing, clips, unread = self.begin(), 0, 0
        with sole_use(self.out):
            for cut_off in self.out.glob(PATTERN):  # by a kill
                cut_off.unlink()
            counts = map(self.write, missing) if workers is None else self._on_ray(missing, workers)
            for done, (some, bad) in enumerate(counts, 1):
                clips, unread = clips + some, unread + bad
                progress(done, len(missing))
        return clips, unread

    def _on_ray(self, missing: list[int], workers: int) -> Iterator[tuple[int, int]]:
        try:
            import ray
        except ImportError as error:
            raise ConfigError("workers of Ray need ray: pip install 'llmcodec[ray]'") from error
        if not missing:
            return
        plan = Tokenization(self.data.resolve(), self.out.resolve(), self.codec, self.per_shard)
        rows = ray.data.from_items([{"shard": number} for number in missing], override_num_blocks=len(missing))
        done = rows.map(cast(Any, _Worker), fn_constructor_args=(plan,), concurrency=workers, num_cpus=1)
        try:
            yield from ((row["clips"], row["unread"]) for row in done.iter_rows())
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            told = cause if isinstance(cause, LLMCodecError) else ConfigError(f"Ray stopped: {first_line(error)}")
            raise told from error


class _Worker:
    """What a process of Ray holds: the codec, and where the clips are."""

    def __init__(self, plan: Tokenization) -> None:
        torch.set_num_threads(1)
        self.plan = plan

    def __call__(self, row: Row) -> Row:
        clips, unread = self.plan.write(int(row["shard"]))
        return {"clips": clips, "unread": unread}
