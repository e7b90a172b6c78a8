"""What goes out: the models of the API's JSON, and sound as WAV."""

from __future__ import annotations

import struct
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from llmcodec.audio import pcm16
from llmcodec.codec import AudioCodes, LLMCodec
from llmcodec.errors import ModelError
from llmcodec.webapp.limits import Limits
from llmcodec.webapp.service import Prediction

UNKNOWN = 0xFFFFFFFF  # size in the header of a stream whose end is not known yet
Count = Annotated[int, Field(ge=0, lt=2**31)]


def _example(**fields: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [fields]})


class Problem(BaseModel):
    """Every answer that is not 2xx."""

    model_config = _example(detail="file (clip.wav): lasts 75.0 s; at most 60 s are allowed")

    detail: Annotated[str, Field(description="What is wrong, and what would be right.")]


class Layer(BaseModel):
    """The words of one layer of the codec, in time."""

    name: str
    words: list[str]
    ids: Annotated[list[Count], Field(description="Place of each word in the vocabulary of its layer.")]


class Encoded(BaseModel):
    """One clip as words."""

    model_config = _example(
        codec="713608266f41", sample_rate=16_000, samples=960, seconds=0.06,
        layers=[
            {"name": "semantic", "words": ["tongue"], "ids": [509]},
            {"name": "coarse", "words": ["pack"], "ids": [1673]},
            {"name": "fine", "words": ["say", "Ib"], "ids": [496, 10166]},
        ],
    )  # fmt: skip

    codec: Annotated[str, Field(description="Hash of the codec's weights: codes belong to one codec.")]
    sample_rate: Count
    samples: Annotated[int, Field(ge=1, lt=2**31, description="Length of the clip at this rate.")]
    seconds: float
    layers: list[Layer]

    @classmethod
    def of(cls, codes: AudioCodes, codec: LLMCodec, name: str) -> Encoded:
        rows = zip(codec.words(codes).items(), codes.layers, strict=True)
        layers = [Layer(name=layer, words=words, ids=row[0].tolist()) for (layer, words), row in rows]
        samples = int(codes.samples)
        return cls(
            codec=name, sample_rate=codec.sample_rate, samples=samples, seconds=samples / codec.sample_rate,
            layers=layers,
        )  # fmt: skip

    def codes(self, name: str) -> AudioCodes:
        """ModelError when they are those of another codec than that of this name."""
        if self.codec != name:
            raise ModelError(f"the codes are of the codec {self.codec}; this server has {name}")
        return AudioCodes(tuple(torch.tensor([layer.ids]) for layer in self.layers), torch.tensor([self.samples]))


class SpokenWord(BaseModel):
    """A word of a query, the label it spoke for, and by how much it raised that label's score above the mean."""

    word: str
    label: str
    weight: float


class Named(BaseModel):
    """One query: its likeliest label, the probability of each, and, if asked for, the words that spoke the most."""

    model_config = _example(
        label="rain", probabilities={"rain": 0.91, "dog": 0.09},
        words=[{"word": "water", "label": "rain", "weight": 0.43}],
    )  # fmt: skip

    label: str
    probabilities: dict[str, float]
    words: list[SpokenWord]

    @classmethod
    def of(cls, prediction: Prediction) -> Named:
        words = [SpokenWord(word=one.word, label=one.label, weight=one.weight) for one in prediction.reasons]
        return cls(label=prediction.label, probabilities=prediction.probabilities, words=words)


class Classified(BaseModel):
    """The queries in the order they were sent."""

    results: list[Named]


class Health(BaseModel):
    """The server is up: its models, its limits, and how many requests are worked on or wait."""

    version: str
    codec: str
    llm: str
    load: int
    limits: Limits


def wav_header(sample_rate: int, samples: int | None) -> bytes:
    """Of mono 16-bit PCM; samples: None if not known yet."""
    data = UNKNOWN if samples is None else 2 * samples
    riff = UNKNOWN if samples is None else data + 36
    layout = struct.pack("<IHHIIHH", 16, 1, 1, sample_rate, 2 * sample_rate, 2, 16)
    return b"RIFF" + struct.pack("<I", riff) + b"WAVEfmt " + layout + b"data" + struct.pack("<I", data)


def pcm(wave: Tensor) -> bytes:
    """Samples float [t], clipped to [-1, 1], as 16-bit little-endian PCM."""
    return pcm16(wave).astype("<i2").tobytes()


def wav(wave: Tensor, sample_rate: int) -> bytes:
    return wav_header(sample_rate, len(wave)) + pcm(wave)
