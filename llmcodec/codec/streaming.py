"""Coding a clip block by block, each with enough neighbouring frames that its codes are those of the whole clip.

A backbone's `reach` is how many frames on either side can change an output. Blocks overlap by that much and only what
lies inside is kept, so memory does not grow with the clip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from llmcodec.codec.codes import AudioCodes, check_layers
from llmcodec.codec.config import CodecConfig
from llmcodec.codec.place import Place
from llmcodec.errors import AudioError

BLOCK_SECONDS = 20.0

# Codes, and where in their clip they begin -> their waveforms, and the phases at the starts of their frames, if any.
Decode = Callable[[AudioCodes, Place], tuple[list[Tensor], Tensor | None]]


def stream_encode(
    encode: Callable[[Sequence[Tensor]], AudioCodes], chunks: Iterable[Tensor], config: CodecConfig, reach: int
) -> Iterator[AudioCodes]:
    """`encode` codes a list of waveforms; chunks [t] of one clip -> AudioCodes of successive pieces of it."""
    multiple = config.frames_multiple
    unit = config.unit_samples
    margin = -(-reach // multiple) * unit
    block = max(1, round(BLOCK_SECONDS * config.sample_rate / unit)) * unit
    held: list[Tensor] = []  # samples from `start` on
    start = done = size = 0  # done: samples already coded
    for chunk in chunks:
        if chunk.ndim != 1:
            raise AudioError(f"a chunk is [samples], not {list(chunk.shape)}")
        if not torch.isfinite(chunk).all():
            raise AudioError("a chunk holds values that are not finite")
        held.append(chunk)
        size += len(chunk)
        while start + size >= done + block + margin:
            wave = torch.cat(held)
            end = done + block
            yield _cut(encode([wave[: end + margin - start]]), done - start, end - start, config)
            done = end
            keep = max(0, done - margin - start)
            wave = wave[keep:].clone()
            held, start, size = [wave], start + keep, len(wave)
    if not start + size:
        raise AudioError("the clip is empty")
    if start + size > done:
        yield _cut(encode([torch.cat(held)]), done - start, size, config)


def stream_decode(decode: Decode, codes: AudioCodes, config: CodecConfig, reach: int) -> Iterator[Tensor]:
    """The codes of one clip -> successive pieces [t] of its waveform."""
    if len(codes) != 1:
        raise AudioError(f"stream_decode takes the codes of one clip, not of {len(codes)}")
    unit = config.unit_samples
    margin = -(-reach // config.frames_multiple) * unit
    block = max(1, round(BLOCK_SECONDS * config.sample_rate / unit)) * unit
    samples = int(codes.samples)
    frame, turns = config.frame_samples, None
    for start in range(0, samples, block):
        low, end = max(0, start - margin), min(start + block, samples)
        place = Place(low // frame, (start - low) // frame, turns)
        (wave,), phases = decode(_cut(codes, low, min(samples, end + margin), config), place)
        yield wave[start - low : end - low]
        if phases is not None and end < samples:
            turns = phases[:, (end - low) // frame]


def decode_pieces(decode: Decode, pieces: Iterable[AudioCodes], config: CodecConfig, reach: int) -> Iterator[Tensor]:
    """Successive pieces of one clip's codes, of whole units but for the last -> its waveform [t], as soon as no later
    code can change it."""
    unit = config.unit_samples
    margin = -(-reach // config.frames_multiple) * unit
    held: AudioCodes | None = None  # codes from sample `start` on
    frame, turns = config.frame_samples, None
    start = done = size = 0
    for piece in pieces:
        if size % unit:
            raise AudioError(f"a piece of codes before the last must have whole units of {unit} samples")
        held = piece if held is None else join_codes([held, piece])
        size += int(piece.samples)
        end = (size - margin) // unit * unit
        if end > done:
            (wave,), phases = decode(held, Place(start // frame, (done - start) // frame, turns))
            yield wave[done - start : end - start]
            if phases is not None:
                turns = phases[:, (end - start) // frame]
            done = end
            keep = max(0, done - margin)
            held, start = _cut(held, keep - start, size - start, config), keep
    if held is not None and size > done:
        (wave,), _ = decode(held, Place(start // frame, (done - start) // frame, turns))
        yield wave[done - start :]


def join_codes(pieces: Sequence[AudioCodes]) -> AudioCodes:
    """Successive pieces of one clip -> the clip."""
    if not pieces:
        raise AudioError("no codes to join")
    check_layers(pieces)
    layers = tuple(torch.cat(parts, dim=1) for parts in zip(*(piece.layers for piece in pieces), strict=True))
    return AudioCodes(layers, torch.stack([piece.samples for piece in pieces]).sum(0))


def _cut(codes: AudioCodes, start: int, end: int, config: CodecConfig) -> AudioCodes:
    """Samples start to end of one clip; start lies on a multiple of every stride."""
    first, last = start // config.frame_samples, -(-end // config.frame_samples)
    layers = tuple(
        layer[:, first // setting.stride : -(-last // setting.stride)]
        for layer, setting in zip(codes.layers, config.layers, strict=True)
    )
    return AudioCodes(layers, torch.tensor([end - start]))
