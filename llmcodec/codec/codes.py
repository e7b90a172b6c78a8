"""AudioCodes: what a clip is between encoder and decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from llmcodec import formats
from llmcodec.errors import AudioError, ModelError, first_line
from llmcodec.temporary import atomic_output

PADDING = -1
FORMAT = "llmcodec-codes-1"


@dataclass(frozen=True)
class AudioCodes:
    """Codes of one or several clips.

    layers: one long tensor [B, T_l] per layer, `PADDING` behind a clip's last code.
    samples: long [B], the length of each clip in samples at the codec's rate.
    """

    layers: tuple[Tensor, ...]
    samples: Tensor

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, clip: int) -> AudioCodes:
        """One clip, without padding."""
        if not -len(self) <= clip < len(self):
            raise IndexError(f"clip {clip} of {len(self)}")
        rows = [layer[clip] for layer in self.layers]
        return AudioCodes(tuple(row[row != PADDING][None] for row in rows), self.samples[clip].reshape(1))

    @classmethod
    def cat(cls, clips: Sequence[AudioCodes]) -> AudioCodes:
        """Join clips (or batches of clips) to one batch, padding each layer to its longest."""
        if not clips:
            raise AudioError("no clips to join")
        check_layers(clips)
        layers = []
        for parts in zip(*(codes.layers for codes in clips), strict=True):
            width = max(part.shape[1] for part in parts)
            padded = [torch.nn.functional.pad(part, (0, width - part.shape[1]), value=PADDING) for part in parts]
            layers.append(torch.cat(padded))
        return cls(tuple(layers), torch.cat([codes.samples for codes in clips]))

    def save(self, path: str | Path) -> None:
        """Write a safetensors file (whole or not at all)."""
        path = Path(path)
        tensors = {f"layer.{number}": layer.to(torch.int32).contiguous() for number, layer in enumerate(self.layers)}
        tensors["samples"] = self.samples.contiguous()
        try:
            with atomic_output(path) as temporary:
                temporary.write_bytes(save(tensors, metadata={"format": FORMAT}))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise AudioError(f"{path}: cannot be written: {reason}") from error

    @classmethod
    def load(cls, path: str | Path) -> AudioCodes:
        """Read what `save` wrote. AudioError when the file is missing, something else or of a newer llmcodec."""
        try:
            with safe_open(path, framework="pt") as file:
                if fault := formats.fault((file.metadata() or {}).get("format"), FORMAT):
                    raise AudioError(f"{path}: not a file of llmcodec codes: {fault}")
                count = len(file.keys()) - 1
                tensors = [file.get_tensor(name) for name in (*(f"layer.{n}" for n in range(count)), "samples")]
        except (OSError, SafetensorError) as error:
            raise AudioError(f"{path}: not a file of llmcodec codes: {first_line(error)}") from error
        *layers, samples = tensors
        for tensor, axes in ((samples, 1), *((layer, 2) for layer in layers)):
            if tensor.dtype not in (torch.int32, torch.int64) or tensor.ndim != axes or len(tensor) != len(samples):
                held = f"a tensor of {tensor.dtype} and shape {list(tensor.shape)}"
                raise AudioError(f"{path}: not a file of llmcodec codes: it holds {held}")
        return cls(tuple(layer.long() for layer in layers), samples.long())

    def check(self, strides: Sequence[int], words: Sequence[int], frame_samples: int) -> None:
        """ModelError when these codes cannot be those of a codec with these strides and vocabulary sizes."""
        if len(self.layers) != len(strides):
            raise ModelError(f"the codes have {len(self.layers)} layers, the codec has {len(strides)}")
        if self.samples.ndim != 1 or (self.samples < 1).any():
            raise ModelError("the codes need one number of samples, 1 or more, for every clip")
        for number, (layer, stride, count) in enumerate(zip(self.layers, strides, words, strict=True)):
            if layer.ndim != 2:
                raise ModelError(f"layer {number} of the codes must be [clips, codes], not {list(layer.shape)}")
            if layer.numel() and (int(layer.min()) < PADDING or int(layer.max()) >= count):
                raise ModelError(f"layer {number} of the codes has a code outside 0 to {count - 1}")
            frames = -(-self.samples // frame_samples)
            if not torch.equal((layer != PADDING).sum(1), -(-frames // stride)):
                raise ModelError(f"layer {number} of the codes does not have one code for every {stride} frames")


def check_layers(pieces: Sequence[AudioCodes]) -> None:
    """AudioError when codes that are to be joined differ in their number of layers, or have none."""
    counts = {len(codes.layers) for codes in pieces}
    if len(counts) > 1 or 0 in counts:
        raise AudioError(f"codes of {' and '.join(map(str, sorted(counts)))} layers cannot be joined")
