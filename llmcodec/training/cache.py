"""The feature cache: waveforms, teacher features and text embeddings of a training set, computed once.

folder/waves.npy      int16 [samples]             all clips one after another, 16 kHz
folder/features.npy   float16 [rows, dim]         audio teacher, averaged to `FEATURE_RATE` rows a second
folder/texts.npy      float16 [distinct, dim]     text teacher
folder/index.json     what was asked for, and where each clip lies
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import soxr
import torch
from scipy.signal import lfilter
from torch import Tensor

from llmcodec.errors import AudioError, ConfigError, first_line
from llmcodec.locks import sole_use
from llmcodec.teachers import SAMPLES, WHISPER_RATE, WHISPER_SECONDS, AudioTeacher, TextTeacher
from llmcodec.training.sources import Clip, ClipSource, file_stamp

Progress = Callable[[int, int], None]  # done, total
Complain = Callable[[str], None]
SAMPLE_RATE = 16_000
POOL = 3  # Whisper frames averaged to one row
FEATURE_RATE = WHISPER_RATE / POOL
LIMIT = int(WHISPER_SECONDS * SAMPLE_RATE)  # samples; the rest of a longer clip is not used
SAMPLES_PER_ROW = round(SAMPLE_RATE / FEATURE_RATE)  # 960: two codec frames


def mix_and_stretch(wave: np.ndarray, other: np.ndarray, mixed: float, random: np.random.Generator) -> np.ndarray:
    """A new sound from two: played 0.7 to 1.4 times as fast, coloured by a random first-order filter, and with
    probability `mixed` with the other sound under it, 0 to 15 dB softer."""
    made = soxr.resample(wave, SAMPLE_RATE, SAMPLE_RATE * float(2 ** random.uniform(-0.5, 0.5)))
    made = lfilter([1, random.uniform(-0.5, 0.5)], [1], made).astype(np.float32)
    if random.random() < mixed:
        under = np.resize(other, len(made))
        level = 10 ** (-random.uniform(0, 15) / 20) * np.sqrt(np.mean(made**2) / (np.mean(under**2) + 1e-9))
        made = made + level * under
    return (made / max(1.0, float(np.abs(made).max()))).astype(np.float32)


@dataclass(frozen=True)
class TeacherNames:
    """The models whose features a cache holds: hub ids or folders; `layer` of the audio teacher."""

    audio: str
    layer: int
    text: str


@dataclass(frozen=True)
class FeatureCache:
    """Read-only view of a cache folder; arrays are memory-mapped."""

    clips: list[Clip]
    wave_bounds: np.ndarray  # int64 [N, 2] into waves
    row_bounds: np.ndarray  # int64 [N, 2] into features
    text_rows: np.ndarray  # int64 [N], -1 without text
    waves: np.ndarray
    features: np.ndarray
    texts: np.ndarray

    def wave(self, clip: int, start: int, samples: int) -> Tensor:
        """Samples [start, start + samples) of a clip as float32; shorter at its end."""
        low, high = self.wave_bounds[clip]
        piece = self.waves[low + start : min(low + start + samples, high)]
        return torch.from_numpy(piece.astype(np.float32) / 32767)

    def rows(self, clip: int, start: int, rows: int) -> Tensor:
        """Teacher rows [start, start + rows) of a clip as float32 [n, dim]."""
        low, high = self.row_bounds[clip]
        return torch.from_numpy(self.features[low + start : min(low + start + rows, high)].astype(np.float32))

    def text(self, row: int) -> Tensor:
        """One text embedding as float32 [dim]."""
        return torch.from_numpy(self.texts[row].astype(np.float32))

    def part(self, keep: np.ndarray) -> FeatureCache:
        """The clips where `keep` [N] is true."""
        clips = [clip for clip, kept in zip(self.clips, keep, strict=True) if kept]
        bounds = {name: getattr(self, name)[keep] for name in ("wave_bounds", "row_bounds", "text_rows")}
        return replace(self, clips=clips, **bounds)

    @classmethod
    def open(cls, folder: Path) -> FeatureCache:
        """ConfigError when the cache is damaged."""
        try:
            index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
            return cls(
                clips=[Clip(**clip) for clip in index["clips"]],
                wave_bounds=np.array(index["wave_bounds"]),
                row_bounds=np.array(index["row_bounds"]),
                text_rows=np.array(index["text_rows"]),
                waves=np.load(folder / "waves.npy", mmap_mode="r"),
                features=np.load(folder / "features.npy", mmap_mode="r"),
                texts=np.load(folder / "texts.npy"),
            )
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            raise ConfigError(f"{folder}: no cache that can be read ({first_line(error)}); remove it") from error

    @classmethod
    def build(
        cls,
        root: Path,
        source: ClipSource,
        teachers: TeacherNames | None,
        copies: dict[str, int],
        mixed: float,
        seed: int,
        progress: Progress | None = None,
        complain: Complain | None = None,
    ) -> FeatureCache:
        """Open the cache that fits these arguments below `root`, or compute it (atomic: a half-made one is never seen).

        `teachers`: None for waveforms alone; features and text embeddings are then of no dimension. `copies`: per
        kind, how many stretched copies of each clip to add, of which a share `mixed` has another sound under it. A clip
        that cannot be read is left out and `complain` is told; AudioError if there is no other.
        """
        wanted = {
            "clips": [[asdict(clip), source.stamp(clip)] for clip in source.clips], "copies": copies, "mixed": mixed,
            "seed": seed,
            "audio_teacher": teachers and [(teachers.audio, teachers.layer), file_stamp(Path(teachers.audio))],
            "text_teacher": teachers and [teachers.text, file_stamp(Path(teachers.text))],
        }  # fmt: skip
        folder = root / hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:16]
        root.mkdir(parents=True, exist_ok=True)
        with sole_use(root, wait=True):
            for cut_off in root.glob("unfinished-*"):  # by a kill
                shutil.rmtree(cut_off, ignore_errors=True)
            if folder.is_dir():
                return cls.open(folder)
            work = root / f"unfinished-{uuid.uuid4().hex}"
            work.mkdir()
            try:
                clips, waves = _read(source, complain or (lambda message: None))
                _compute(work, clips, waves, teachers, copies, mixed, seed, progress or (lambda done, total: None))
                os.replace(work, folder)
            except BaseException:
                shutil.rmtree(work, ignore_errors=True)
                raise
        return cls.open(folder)


def _read(source: ClipSource, complain: Complain) -> tuple[list[Clip], list[np.ndarray]]:
    """The clips that can be read, and their waveforms."""

    def read(clip: Clip) -> np.ndarray | AudioError:
        try:
            return source.read(clip)[:LIMIT].numpy()
        except AudioError as error:
            return error

    clips, waves, errors = [], [], []
    threads = ThreadPoolExecutor(os.cpu_count())
    try:
        for clip, found in zip(source.clips, threads.map(read, source.clips), strict=True):
            if isinstance(found, AudioError):
                errors.append(str(found))
                complain(f"left out: {found}")
            else:
                clips.append(clip)
                waves.append(found)
    finally:
        threads.shutdown(cancel_futures=True)  # where it is interrupted, the rest is not read
    if not clips:
        raise AudioError(f"none of {len(errors)} clips can be read; the first: {errors[0]}")
    return clips, waves


def _compute(
    folder: Path,
    clips: list[Clip],
    waves: list[np.ndarray],
    teachers: TeacherNames | None,
    copies: dict[str, int],
    mixed: float,
    seed: int,
    progress: Progress,
) -> None:
    hear = AudioTeacher(teachers.audio, teachers.layer).features if teachers else _nothing_heard
    embed = TextTeacher(teachers.text).embed if teachers else _nothing_read
    random = np.random.default_rng(seed)
    table = list(clips)
    for number, clip in enumerate(clips):
        for _ in range(copies.get(clip.kind, 0)):
            other = int(random.integers(len(clips)))
            waves.append(mix_and_stretch(waves[number], waves[other], mixed, random)[:LIMIT])
            table.append(clip)

    order = sorted(range(len(waves)), key=lambda number: len(waves[number]))
    features: list[np.ndarray | None] = [None] * len(waves)
    done, position = 0, 0
    while position < len(order):
        longest = len(waves[order[min(position + 31, len(order) - 1)]])
        batch = order[position : position + max(1, min(32, 40 * SAMPLE_RATE // longest))]
        for number, rows in zip(batch, hear([torch.from_numpy(waves[n]) for n in batch]), strict=True):
            features[number] = pool(rows).numpy().astype(np.float16)
        position += len(batch)
        done += len(batch)
        progress(done, len(order))

    texts = sorted({clip.text for clip in table if clip.text})
    place = {text: row for row, text in enumerate(texts)}
    embedded = embed(texts or [""])[: len(texts)]
    np.save(folder / "texts.npy", embedded.numpy().astype(np.float16))
    ready = [rows for rows in features if rows is not None]
    np.save(folder / "features.npy", np.concatenate(ready))
    np.save(folder / "waves.npy", np.concatenate([_to_int16(wave) for wave in waves]))
    index = {
        "clips": [asdict(clip) for clip in table],
        "wave_bounds": _bounds([len(wave) for wave in waves]),
        "row_bounds": _bounds([len(rows) for rows in ready]),
        "text_rows": [place.get(clip.text, -1) for clip in table],
    }
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")


def _nothing_heard(waves: Sequence[Tensor]) -> list[Tensor]:
    return [torch.zeros(-(-len(wave) // SAMPLES), 0) for wave in waves]


def _nothing_read(texts: Sequence[str]) -> Tensor:
    return torch.zeros(len(texts), 0)


def _to_int16(wave: np.ndarray) -> np.ndarray:
    return (wave.clip(-1, 1) * 32767).round().astype(np.int16)


def pool(rows: Tensor) -> Tensor:
    """Mean of every `POOL` rows [T, dim] -> [ceil(T / POOL), dim]; the last mean is over what is left."""
    full = len(rows) // POOL * POOL
    pooled = rows[:full].unflatten(0, (full // POOL, POOL)).mean(1)
    return torch.cat([pooled, rows[full:].mean(0, keepdim=True)]) if full < len(rows) else pooled


def _bounds(lengths: Sequence[int]) -> list[list[int]]:
    ends = np.cumsum(lengths).tolist()
    return [[end - length, end] for end, length in zip(ends, lengths, strict=True)]
