"""What speed is compared with, each as a pair of functions: other ways to run the codec inside the package, and other
codecs with random weights, which take the same time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from llmcodec.codec import CodecConfig, ConvConfig, LayerConfig, LLMCodec
from llmcodec.codec.official import OfficialCodec
from llmcodec.errors import ModelError, first_line
from llmcodec.vocabulary import Vocabulary

EMBEDDING = 4096  # width of LLaMA-2's embeddings
ROWS = (3248, 32_000, 32_000)


@dataclass(frozen=True)
class System:
    """encode: waveform float32 [T] at `sample_rate` -> codes; decode: those codes -> waveform."""

    name: str
    sample_rate: int
    encode: Callable[[Tensor], Any]
    decode: Callable[[Any], Any]


def peer(name: str) -> System:
    """One of PEERS. ModelError when its package is missing."""
    torch.manual_seed(0)
    try:
        return PEERS[name]()
    except ImportError as error:
        raise ModelError(f"{name}: needs the package {error.name}") from error


@dataclass(frozen=True)
class TransformersCodec:
    """A codec of transformers at its lowest bit rate: waveform [T] -> codes long [layers, T'] -> waveform [T]."""

    model: Any

    @property
    def sample_rate(self) -> int:
        return int(self.model.config.sampling_rate)

    @property
    def codebook_size(self) -> int:
        return int(self.model.config.codebook_size)

    @torch.inference_mode()
    def encode(self, wave: Tensor) -> Tensor:
        kind, batch = self.model.config.model_type, wave[None, None]
        if kind == "encodec":
            return self.model.encode(batch, bandwidth=min(self.model.config.target_bandwidths)).audio_codes[0, 0]
        if kind == "dac":
            return self.model.encode(
                nn.functional.pad(batch, (0, -len(wave) % self.model.config.hop_length))
            ).audio_codes[0]
        return self.model.encode(batch, num_quantizers=8).audio_codes[0]

    @torch.inference_mode()
    def decode(self, codes: Tensor) -> Tensor:
        if self.model.config.model_type == "encodec":
            return self.model.decode(codes[None, None], [None]).audio_values.flatten()
        return self.model.decode(audio_codes=codes[None]).audio_values.flatten()


def transformers_codec(folder: str) -> TransformersCodec:
    """EnCodec, DAC or Mimi from a folder or hub id. ModelError for anything else."""
    from transformers import AutoConfig, AutoModel

    try:
        kind = AutoConfig.from_pretrained(folder).model_type
        if kind not in ("encodec", "dac", "mimi"):
            raise ModelError(f"{folder}: a model of type {kind}, not encodec, dac or mimi")
        return TransformersCodec(AutoModel.from_pretrained(folder).eval())
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: no codec that transformers can load: {first_line(error)}") from error


def published_size(per_call: bool) -> System:
    """The conv backbone with the published configuration; per_call: codebooks projected as its authors do, twice in
    each encode and once in each decode, from a language model's 32,000 rows."""
    config = CodecConfig(
        latent_dim=512,
        backbone=ConvConfig(),
        layers=tuple(LayerConfig(f"stride{stride}", stride, 0, query_norm=False) for stride in (4, 2, 1)),
    )
    words = [Vocabulary(tuple(str(code) for code in range(rows))) for rows in ROWS]
    codec = OfficialCodec(config, words).eval().requires_grad_(False)

    def encode(wave: Tensor) -> list[Tensor]:
        return codec.encode_codes(wave[None, None])

    if not per_call:
        return System("conv, published size", 16_000, encode, codec.decode_codes)
    big = torch.randn(max(ROWS), EMBEDDING)
    projections = [nn.Linear(EMBEDDING, 512).requires_grad_(False) for _ in ROWS]

    def project() -> None:
        for layer, rows, projection in zip(codec.quantizer.layers, ROWS, projections, strict=True):
            layer.table = projection(big[:rows])

    def encode_as_authors(wave: Tensor) -> list[Tensor]:
        project()
        project()
        return encode(wave)

    def decode_as_authors(codes: list[Tensor]) -> Tensor:
        project()
        return codec.decode_codes(codes)

    return System("conv, codebooks projected per call", 16_000, encode_as_authors, decode_as_authors)


def _of_transformers(name: str, model: Any) -> System:
    codec = TransformersCodec(model.eval())
    return System(f"{name} (transformers)", codec.sample_rate, codec.encode, codec.decode)


def _encodec() -> System:
    from transformers import EncodecConfig, EncodecModel

    return _of_transformers("EnCodec 24 kHz", EncodecModel(EncodecConfig()))


def _dac() -> System:
    from transformers import DacConfig, DacModel

    return _of_transformers("DAC 16 kHz", DacModel(DacConfig()))


def _mimi() -> System:
    from transformers import MimiConfig, MimiModel

    return _of_transformers("Mimi 24 kHz", MimiModel(MimiConfig()))


def _snac() -> System:
    from snac import SNAC

    sizes = {"encoder_dim": 48, "encoder_rates": [2, 4, 8, 8], "decoder_dim": 1024, "decoder_rates": [8, 8, 4, 2]}
    quantiser = {"attn_window_size": None, "codebook_size": 4096, "codebook_dim": 8, "vq_strides": [4, 2, 1]}
    model = SNAC(sampling_rate=24_000, noise=True, depthwise=True, **sizes, **quantiser).eval()
    return System("SNAC 24 kHz (snac)", 24_000, lambda wave: model.encode(wave[None, None]), model.decode)


def _encodec_package() -> System:
    from encodec import EncodecModel

    model = EncodecModel.encodec_model_24khz(pretrained=False).eval()
    model.set_target_bandwidth(1.5)
    return System("EnCodec 24 kHz (encodec)", 24_000, lambda wave: model.encode(wave[None, None]), model.decode)


def _bfloat16() -> System:
    codec = LLMCodec.from_pretrained()
    half = torch.autocast("cpu", torch.bfloat16)
    return System("llmcodec, bfloat16", codec.sample_rate, half(codec.encode), half(codec.decode))


PEERS: dict[str, Callable[[], System]] = {
    "bfloat16": _bfloat16,
    "conv": lambda: published_size(per_call=False),
    "conv-per-call": lambda: published_size(per_call=True),
    "encodec": _encodec,
    "dac": _dac,
    "mimi": _mimi,
    "snac": _snac,
    "encodec-package": _encodec_package,
}
