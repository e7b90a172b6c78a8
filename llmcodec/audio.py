"""Reading and writing sound: float32, mono, one sample rate, finite. Anything else becomes an AudioError."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
import soundfile
import soxr
import torch
from torch import Tensor

from llmcodec.errors import AudioError, first_line, one_line
from llmcodec.temporary import beside

DEFAULT_RATE = 16_000
MIN_RATE, MAX_RATE = 4_000, 192_000
MAX_CHANNELS = 1_024
ACTIVE_SECONDS, ACTIVE_DB = 0.02, 15.9  # pieces of speech, and how far below the active level one is still active
MAX_BLOCK = 2**22  # samples of all channels that are held at a time, whatever a header says
FILE_SUFFIXES = frozenset([".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64"])
# Full scale of the integer types that carry sound; other integers have no agreed one.
INTEGER_SCALES = {"uint8": (128.0, 128.0), "int8": (0.0, 128.0), "int16": (0.0, 2.0**15), "int32": (0.0, 2.0**31)}

Floats = npt.NDArray[np.float32]
PathLike = str | os.PathLike[str]


def is_audio(path: Path) -> bool:
    """Whether that is a file, not hidden, with the suffix of one that can be read."""
    return path.suffix.lower() in FILE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def audio_digest(wave: Tensor) -> str:
    """SHA-256 of a waveform [T] at 16 bits, in hexadecimal: the same audio has the same one."""
    return sha256((wave * 2**15).round().to(torch.int32).numpy().tobytes()).hexdigest()


def pcm16(wave: Tensor) -> npt.NDArray[np.int16]:
    """Samples float [T], clipped to [-1, 1], at 16 bits."""
    return (wave.clamp(-1, 1) * 32767).round().to(torch.int16).numpy()


@dataclass(frozen=True)
class AudioInfo:
    """What the header of an audio file says. `sample_rate` is the file's own, in Hz."""

    path: Path
    seconds: float
    sample_rate: int
    channels: int


def load_audio(
    source: PathLike | npt.NDArray[np.generic] | Tensor,
    sample_rate: int = DEFAULT_RATE,
    source_rate: int | None = None,
) -> Tensor:
    """Read a whole clip: float32 [T], mono (mean over the channels), at `sample_rate` Hz.

    source: path of any file libsndfile reads (WAV, FLAC, Ogg, Opus, MP3, ...), or a numpy array or torch tensor [T] or
        [channels, T]. Integer arrays (uint8, int8, int16, int32) are scaled to [-1, 1).
    source_rate: rate of an array in Hz, default `sample_rate`; a file's rate comes from its header.

    N samples become round(N * sample_rate / source_rate), and at least one.
    Raises AudioError: unreadable, empty, NaN or infinite samples, a rate outside 4-192 kHz.
    """
    if isinstance(source, (np.ndarray, Tensor)):
        rate = sample_rate if source_rate is None else source_rate
        pieces = _resample([_array_samples(source)], "array", rate, sample_rate)
    else:
        pieces = stream_audio(source, sample_rate)
    return torch.cat(list(pieces))


def active_level(wave: Tensor, sample_rate: int = DEFAULT_RATE) -> float:
    """The active speech level of a waveform [T] in dB of full scale (dBov): the mean power of what is less than 15.9 dB
    below it (ITU-T P.56, on pieces of 20 ms in place of its envelope); -inf of silence."""
    size = round(ACTIVE_SECONDS * sample_rate)
    power = torch.nn.functional.pad(wave.double(), (0, -len(wave) % size)).view(-1, size).square().mean(-1)
    level, before = power.max(), None
    while level != before:  # the lower it is, the more pieces count: it falls until no more are added
        level, before = power[power >= level * 10 ** (-ACTIVE_DB / 10)].mean(), level
    return float(10 * level.log10())


def at_active_level(wave: Tensor, level: float, sample_rate: int = DEFAULT_RATE) -> Tensor:
    """A waveform [T] as loud as `level` says, see `active_level`, or as full scale allows; silence as it is."""
    if not wave.any():
        return wave
    gain = 10 ** ((level - active_level(wave, sample_rate)) / 20)
    return wave * min(gain, 1 / float(wave.abs().max()))


def stream_audio(path: PathLike, sample_rate: int = DEFAULT_RATE, chunk_seconds: float = 10.0) -> Iterator[Tensor]:
    """Yield the samples of `load_audio(path)` piece by piece, each float32 [t] of about `chunk_seconds`.

    Memory does not grow with the length of the file. Errors are those of `load_audio`; a fault in the middle of the
    file raises when the stream gets there.
    """
    if not chunk_seconds > 0:
        raise AudioError(f"chunk_seconds is {chunk_seconds}; it must be above 0")
    with _open(path) as file:
        frames = max(1, min(round(chunk_seconds * file.samplerate), MAX_BLOCK // file.channels))
        yield from _resample(_file_samples(file, path, frames), str(path), file.samplerate, sample_rate)


def decode_audio(content: bytes, name: str, sample_rate: int = DEFAULT_RATE) -> Tensor:
    """`load_audio` of the bytes of a file; `name` is what messages call it."""
    with _opened(io.BytesIO(content), name) as file:
        blocks = _file_samples(file, name, MAX_BLOCK // file.channels)
        return torch.cat(list(_resample(blocks, name, file.samplerate, sample_rate)))


def audio_info(path: PathLike) -> AudioInfo:
    """Length, rate and channels from the header of an audio file. Raises AudioError if it is no audio file."""
    with _open(path) as file:
        return AudioInfo(Path(path), file.frames / file.samplerate, file.samplerate, file.channels)


class _SequentialFile(soundfile.SoundFile):
    """A file read from start to end: seeking after each block, as soundfile does, changes Opus and MP3 samples."""

    def seekable(self) -> bool:
        return False


class AudioWriter:
    """Write mono sound piece by piece to a 16-bit WAV or FLAC file (chosen by the suffix of `path`).

    A context manager. The file appears under its name only when the block ends without an error. Samples are clipped
    to [-1, 1]. Raises AudioError: other suffix, no such folder, the file exists and `overwrite` is false, samples that
    are not finite or not [t], nothing written, a rate outside 4-192 kHz.
    """

    def __init__(self, path: PathLike, sample_rate: int, overwrite: bool = False) -> None:
        self.path = Path(path)
        self.sample_rate = _checked_rate(sample_rate, str(path))
        self.overwrite = overwrite
        self._file: soundfile.SoundFile | None = None
        self._temporary = beside(self.path)
        if self.path.suffix.lower() not in (".wav", ".flac"):
            raise AudioError(f"{path}: cannot write {self.path.suffix or 'a file without suffix'}; use .wav or .flac")
        self._refuse_existing()

    def __enter__(self) -> AudioWriter:
        if not os.path.isdir(self.path.parent):
            raise AudioError(f"{self.path}: the folder {self.path.parent} does not exist")
        try:
            self._file = soundfile.SoundFile(
                self._temporary, "w", samplerate=self.sample_rate, channels=1, subtype="PCM_16"
            )
        except (soundfile.LibsndfileError, OSError) as error:
            raise AudioError(f"{self.path}: cannot be written ({first_line(error)})") from error
        return self

    def write(self, wave: Tensor) -> None:
        """Append samples: float [t], nominally in [-1, 1]."""
        if self._file is None:
            raise AudioError(f"{self.path}: is not open; write inside a `with AudioWriter(...)` block")
        if wave.ndim != 1:
            raise AudioError(f"{self.path}: samples must be [t], got shape {list(wave.shape)}")
        samples = wave.detach().to("cpu", torch.float32).numpy()
        _check_finite(samples, str(self.path), self._file.frames, self.sample_rate)
        try:
            self._file.write(np.clip(samples, -1.0, 1.0))
        except (soundfile.LibsndfileError, AssertionError) as error:  # the latter: fewer were written than given
            raise AudioError(f"{self.path}: cannot be written ({first_line(error)}; is the disk full?)") from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._file is not None
        written = self._file.frames
        try:
            self._file.close()
            if kind is None:
                if not written:
                    raise AudioError(f"{self.path}: nothing to write; at least one sample is needed")
                self._refuse_existing()
                os.replace(self._temporary, self.path)
        except (OSError, ValueError, soundfile.LibsndfileError) as failure:
            raise AudioError(f"{self.path}: cannot be written ({first_line(failure)})") from failure
        finally:
            self._file = None
            self._temporary.unlink(missing_ok=True)

    def _refuse_existing(self) -> None:
        if os.path.isdir(self.path):
            raise AudioError(f"{self.path}: is a folder, not a file")
        if os.path.exists(self.path) and not self.overwrite:
            raise AudioError(f"{self.path}: exists already; ask for overwriting or choose another name")


def save_audio(path: PathLike, wave: Tensor, sample_rate: int = DEFAULT_RATE, overwrite: bool = False) -> None:
    """Write one clip, float [T], with AudioWriter."""
    with AudioWriter(path, sample_rate, overwrite) as writer:
        writer.write(wave)


def _open(path: PathLike) -> _SequentialFile:
    try:
        with open(path, "rb"):  # for the operating system's own words: no such file, is a directory, no permission
            pass
    except OSError as error:
        raise AudioError(f"{path}: {error.strerror or first_line(error)}; an audio file is needed") from error
    except (TypeError, ValueError) as error:
        raise AudioError(f"{one_line(str(path))}: no name of a file ({first_line(error)})") from error
    return _opened(path, str(path))


def _opened(source: PathLike | io.BytesIO, name: str) -> _SequentialFile:
    try:
        file = _SequentialFile(source)
    except (soundfile.LibsndfileError, OSError, TypeError, ValueError) as error:  # headerless formats want more
        raise AudioError(f"{name}: no audio file that can be read ({first_line(error)})") from error
    try:
        _checked_rate(file.samplerate, name)
    except AudioError:
        file.close()
        raise
    return file


def _file_samples(file: _SequentialFile, path: PathLike, frames: int) -> Iterator[Floats]:
    """Yield float32 [t, channels] with t <= frames until the file ends."""
    while True:
        try:
            block = file.read(frames, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{path}: is damaged ({first_line(error)})") from error
        if not len(block):
            return
        yield block


def _array_samples(source: npt.NDArray[np.generic] | Tensor) -> npt.NDArray[np.generic]:
    """Turn [T] or [channels, T] into floating point [T, channels]."""
    if isinstance(source, Tensor):
        source = source.detach().cpu()
        array = (source.float() if source.dtype == torch.bfloat16 else source).numpy()
    else:
        array = source
    if array.ndim not in (1, 2):
        raise AudioError(f"array: shape {list(array.shape)}; [T] or [channels, T] is needed")
    frames = np.atleast_2d(array).T
    if frames.size and frames.shape[1] > MAX_CHANNELS:
        raise AudioError(f"array: {frames.shape[1]} channels in shape {list(array.shape)}; [channels, T] is needed")
    if frames.dtype.kind == "f":
        return frames
    if frames.dtype.name not in INTEGER_SCALES:
        raise AudioError(f"array: type {frames.dtype}; a floating point type or {', '.join(INTEGER_SCALES)} is needed")
    zero, scale = INTEGER_SCALES[frames.dtype.name]
    return (frames.astype(np.float64) - zero) / scale


def _resample(
    blocks: Iterable[npt.NDArray[np.generic]], name: str, source_rate: int, sample_rate: int
) -> Iterator[Tensor]:
    """Turn blocks [t, channels] into mono pieces at `sample_rate`. How the blocks are cut changes nothing."""
    _checked_rate(source_rate, name)
    _checked_rate(sample_rate, "sample_rate")
    stream = soxr.ResampleStream(source_rate, sample_rate, 1, dtype="float32") if source_rate != sample_rate else None
    read = made = 0
    first: Floats = np.empty(0, np.float32)
    for block in blocks:
        if not block.size:
            continue
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is reported as infinite below
            mono = block.mean(axis=1, dtype=np.float64).astype(np.float32)
        _check_finite(mono, name, read, source_rate)
        first = first if read else mono[:1]
        read += len(mono)
        piece = mono if stream is None else stream.resample_chunk(mono)
        if len(piece):
            made += len(piece)
            yield torch.from_numpy(piece)
    if not read:
        raise AudioError(f"{name}: has no samples; at least one is needed")
    if stream is not None:
        piece = stream.resample_chunk(np.empty(0, np.float32), last=True)
        if made + len(piece) == 0:  # a clip shorter than half an output sample
            piece = first
        if len(piece):
            yield torch.from_numpy(piece)


def _check_finite(samples: Floats, name: str, offset: int, rate: int) -> None:
    bad = ~np.isfinite(samples)
    if bad.any():
        at = offset + int(bad.argmax())
        raise AudioError(f"{name}: {samples[at - offset]} at sample {at} ({at / rate:.3f} s); all must be finite")


def _checked_rate(rate: int, name: str) -> int:
    if not (math.isfinite(rate) and MIN_RATE <= rate <= MAX_RATE):
        raise AudioError(f"{name}: sample rate {rate} Hz; it must be from {MIN_RATE} to {MAX_RATE} Hz")
    return rate
