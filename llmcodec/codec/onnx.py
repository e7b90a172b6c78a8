"""ONNX: the codec as two graphs for runtimes without PyTorch."""

from __future__ import annotations

import logging
import shutil
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from llmcodec.codec.config import SpectralConfig
from llmcodec.codec.model import LLMCodec
from llmcodec.errors import ConfigError, ModelError, first_line
from llmcodec.temporary import beside

UNITS = 3  # length of the clips that the graphs are traced with


class _Encoder(nn.Module):
    def __init__(self, codec: LLMCodec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, wave: Tensor) -> tuple[Tensor, ...]:
        mask = wave.new_ones(wave.shape[0], wave.shape[1] // self.codec.config.frame_samples, 1)
        latent, context = self.codec.encoder(wave, mask)
        _, outputs = self.codec.quantizer(latent, context, mask)
        return tuple(output.codes for output in outputs)


class _Decoder(nn.Module):
    def __init__(self, codec: LLMCodec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, *codes: Tensor) -> Tensor:
        frames = codes[0].shape[1] * self.codec.strides[0]
        latent = self.codec.quantizer.decode(list(codes), frames)
        return self.codec.decoder(latent, latent.new_ones(latent.shape[0], frames, 1)).wave


def export_onnx(codec: LLMCodec, folder: str | Path) -> None:
    """Write `encoder.onnx`, `decoder.onnx`, `config.json` and `words/`, all or nothing.

    encoder: `wave` float32 [B, T] -> one int64 [B, T / frame_samples / stride] per layer, named as the layers.
    decoder: those -> `wave` float32 [B, T]. T is a multiple of `config.unit_samples` (1,920: 0.12 s). Clips are padded
    with zeros to one; of a clip of n samples the first ceil(ceil(n / frame_samples) / stride) codes of a layer count.

    ConfigError when `onnx` or `onnxscript` is missing or `folder` exists; ModelError for another backbone than
    `spectral`, or when a graph cannot be made.
    """
    folder = Path(folder)
    if folder.exists():
        raise ConfigError(f"{folder}: exists already")
    config, layers = codec.config, list(codec.layer_names)
    if not isinstance(config.backbone, SpectralConfig):
        raise ModelError(f"ONNX export knows the spectral backbone, not {config.backbone.kind}")
    wave = torch.zeros(2, UNITS * config.unit_samples)
    codes = [torch.zeros(2, UNITS * config.frames_multiple // stride).long() for stride in codec.strides]
    work = beside(folder)
    try:
        work.mkdir(parents=True)
        codec.save_words(work)
        _export(_Encoder(codec), [wave], ["wave"], layers, work / "encoder.onnx")
        _export(_Decoder(codec), codes, layers, ["wave"], work / "decoder.onnx")
        work.replace(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _export(module: nn.Module, inputs: list[Tensor], names: list[str], outputs: list[str], file: Path) -> None:
    """Trace `module` for any batch, and any number of units of which `inputs` [2, ...] hold `UNITS`."""
    if not all(find_spec(needed) for needed in ("onnx", "onnxscript")):
        raise ConfigError("ONNX export needs onnx and onnxscript: pip install 'llmcodec[onnx]'")
    batch, units = torch.export.Dim("batch", min=1), torch.export.Dim("units", min=1)
    shapes = []
    for tensor in inputs:
        each = tensor.shape[1] // UNITS
        shapes.append({0: batch, 1: each * units if each > 1 else units})
    dynamic: Any = (tuple(shapes),) if isinstance(module, _Decoder) else tuple(shapes)
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module.eval(), tuple(inputs), dynamo=True, dynamic_shapes=dynamic, input_names=names,
                output_names=outputs, verbose=False,
            )  # fmt: skip
    except Exception as error:  # the exporter raises many kinds
        raise ModelError(f"torch {torch.__version__} cannot export this codec to ONNX: {first_line(error)}") from error
    finally:
        log.setLevel(level)
    assert program is not None
    program.save(file)
