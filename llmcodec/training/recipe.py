"""A training recipe: one YAML file that, with its seed, reproduces a codec."""

from __future__ import annotations

import os
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llmcodec.codec.config import CodecConfig, LayerConfig, backbone_config
from llmcodec.errors import ModelError
from llmcodec.training.cache import SAMPLES_PER_ROW
from llmcodec.userfile import read_yaml

Positive = Annotated[int, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(_Strict):
    """Which clips, and how they are drawn."""

    exclude: list[str] = Field(default=[], description="shell patterns of file names that stay out of training")
    balance: dict[str, Weight] = Field(default={}, description="share of each `kind` among crops; {}: by duration")
    copies: dict[str, int] = Field(default={}, description="per kind, stretched and mixed copies added to the cache")
    mixed: Fraction = Field(default=0.5, description="share of the copies that have another sound under them")
    crop_seconds: Annotated[float, Field(gt=0.2, le=20)] = 2.88
    gain_db: Weight = Field(default=6.0, description="random gain up and down")
    noise: Fraction = Field(default=0.0, description="probability of noise in a crop")
    reverb: Fraction = Field(default=0.0, description="probability of reverberation")
    band_limit: Fraction = Field(default=0.0, description="probability of a low pass")
    restore: list[str] = Field(
        default=[], description="kinds whose sound to reproduce is the one before noise, reverberation and low pass"
    )


class Teachers(_Strict):
    """The frozen models learned from: hub ids or folders; folders are looked up below the models folder first."""

    audio: str = "openai/whisper-base"
    audio_layer: Positive = 3
    listening_layer: Positive = Field(default=2, description="of the audio teacher, for the loss `listening`")
    text: str = "sentence-transformers/all-MiniLM-L6-v2"


class Words(_Strict):
    """The vocabulary of a layer and the model whose embeddings its codebook projects."""

    source: Literal["portable", "whole_words", "llm"] = Field(default="portable", description="llm: all its words")
    size: Positive | None = Field(default=None, description="how many words; none: all")
    trainable: bool = Field(default=False, description="embeddings learn too; the paper's ablation")


class Layer(_Strict):
    name: str
    stride: Positive
    lookup_dim: Positive
    from_context: bool = False
    patched: bool = False
    words: Words = Words()


class Semantic(_Strict):
    """How the layer that is chosen from context begins, and what its words mean."""

    codec: str | None = Field(
        default=None,
        description="a codec (default: the one inside the package; a folder or hub id) whose words of this layer, and "
        "what chooses them, are taken over and held",
    )
    inherit: bool = Field(
        default=False,
        description="what chooses the words begins with the front of the audio teacher, a Whisper of "
        "the sizes of `backbone.listener_*`",
    )
    context: Fraction = Field(default=0.3, description="weight of the crop's mean in each target")
    caption_dims: Annotated[int, Field(ge=0)] = Field(
        default=0, description="of the layer's lookup_dim: directions of the teacher's features that tell the captions"
    )
    sample_clips: Positive = 3000
    kmeans_rounds: Positive = 15


class Losses(_Strict):
    """Weights. Zero switches a loss off."""

    stft: Weight = 1.0
    mel: Weight = 1.5
    envelope: Weight = Field(default=0.5, description="correlation of band envelopes, as in STOI")
    loudness: Weight = Field(default=0.0, description="disturbance as PESQ's perceptual model finds it")
    pitch: Weight = Field(default=0.5, description="of a harmonic source, where the backbone has harmonic_bands")
    told_voicing: bool = Field(
        default=True,
        description="a harmonic source sounds where the original has a pitch; false: where the codes let "
        "expect one, as it does in use",
    )
    listening: Weight = Field(default=0.0, description="what Whisper hears of the decoded sound and of the original")
    listening_start: Annotated[int, Field(ge=0)] = Field(default=0, description="main steps before it comes in")
    commitment: Weight = 0.25
    codebook: Weight = 0.25
    entropy: Weight = 0.1
    distillation: Weight = Field(default=1.0, description="semantic queries to the teacher's targets and clusters")
    consistency: Weight = Field(default=0.5, description="semantic + coarse vectors to the teacher's features")
    semantic: Weight = Field(default=0.2, description="mean semantic vector to the text teacher's embedding")
    adversarial: Weight = Field(default=0.1, description="verdict of the discriminators, where the recipe has any")
    feature_matching: Weight = Field(default=0.5, description="inner layers of the discriminators")
    balance: Weight = Field(
        default=0.0, description="gradient norm that the losses on the waveform share by weight; 0: plain weights"
    )


class Prelude(_Strict):
    """Steps before the main ones in which only the words of the layer chosen from context are learned, from the
    teachers alone. The main steps then hold them. Its learning rate runs its own course."""

    steps: Annotated[int, Field(ge=0)] = 0
    batch_size: Positive = 32


class Adversarial(_Strict):
    """Discriminators, and when they come in. None are shipped with the codec."""

    start: Annotated[int, Field(ge=0)] = Field(default=0, description="main steps before they come in")
    kind: Literal["hinge", "least_squares"] = "hinge"
    stft_sizes: list[Positive] = [1024, 512, 256]
    periods: list[Positive] = [2, 3, 5, 7, 11]
    width: Positive = 16
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4


class Optimiser(_Strict):
    steps: Annotated[int, Field(ge=0)] = Field(default=6000, description="main steps; 0 where the prelude is all")
    batch_size: Positive = 16
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    warmup_steps: Positive = 200
    final_fraction: Fraction = Field(default=0.02, description="last learning rate over the first")
    weight_decay: Weight = 0.01
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    accumulate: Positive = Field(default=1, description="batches per step")
    ema: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="decay per step of the running mean of the weights, which is what is exported; 0: none"
    )
    mixed_precision: str = Field(default="no", pattern="^(no|bf16|fp16)$")


class Recipe(_Strict):
    """Everything that decides what a training run makes."""

    seed: int = 0
    llm: str = Field(default="HuggingFaceTB/SmolLM2-135M-Instruct", description="whose embeddings become codebooks")
    start: str | None = Field(
        default=None,
        description="a codec (default: the one inside the package; a folder or hub id) of the same layers and "
        "backbone: begin with its weights; with semantic.codec, but for what chooses the words",
    )
    learns: Literal["codec", "decoder"] = Field(
        default="codec",
        description="decoder: the codes of `start` stay what they are, and so does all that rests on them",
    )
    data: Data = Data()
    teachers: Teachers = Teachers()
    latent_dim: Positive = 256
    backbone: dict[str, int | str | bool | list[int]] = Field(
        default={}, description="kind (spectral or conv), and fields of its configuration that differ from the defaults"
    )
    layers: Annotated[list[Layer], Field(min_length=1)]
    semantic: Semantic = Semantic()
    losses: Losses = Losses()
    prelude: Prelude = Prelude()
    adversarial: Adversarial | None = None
    optimiser: Optimiser = Optimiser()
    log_every: Positive = 50
    checkpoint_every: Positive = 500

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Recipe:
        """Read a recipe file. ConfigError names the file, the field and what is allowed."""
        return read_yaml(path, cls)

    def codec_config(self) -> CodecConfig:
        layers = [LayerConfig(**layer.model_dump(exclude={"words"})) for layer in self.layers]
        return CodecConfig(
            latent_dim=self.latent_dim, backbone=backbone_config(self.backbone), layers=tuple(layers)
        )  # fmt: skip

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        try:
            backbone_config(self.backbone)
        except ModelError as error:
            raise ValueError(f"backbone: {error}") from error
        if all(layer.from_context for layer in self.layers):
            raise ValueError("layers: one layer at least must not be from_context; it would leave the sound untold")
        if any(layer.from_context for layer in self.layers[1:]):
            raise ValueError("layers: only the first can be from_context")
        try:
            config = self.codec_config()
        except ModelError as error:
            raise ValueError(f"layers: {error}") from error
        for number, layer in enumerate(self.layers[: 2 if self.losses.consistency else 1]):
            if layer.stride * config.frame_samples % SAMPLES_PER_ROW:
                raise ValueError(
                    f"layers.{number}.stride: {layer.stride} frames of {config.frame_samples} samples are no multiple "
                    f"of the {SAMPLES_PER_ROW} samples of a teacher row"
                )
        if self.semantic.caption_dims >= self.layers[0].lookup_dim:
            raise ValueError(f"semantic.caption_dims: must be below layers.0.lookup_dim, {self.layers[0].lookup_dim}")
        if not self.prelude.steps + self.optimiser.steps:
            raise ValueError("optimiser.steps: neither main steps nor a prelude")
        if not self.layers[0].from_context:
            if self.prelude.steps:
                raise ValueError("prelude.steps: without a layer from_context there is nothing that it could teach")
            if self.semantic.inherit:
                raise ValueError("semantic.inherit: without a layer from_context there is nothing that could inherit")
        if self.semantic.codec and self.prelude.steps:
            raise ValueError("prelude.steps: must be 0 where semantic.codec gives the words")
        if self.semantic.codec and not self.layers[0].from_context:
            raise ValueError("semantic.codec: needs a first layer from_context")
        if self.learns == "decoder":
            if not self.start:
                raise ValueError("learns: a decoder learns from the codes of a codec, which `start` has to name")
            if self.semantic.codec or self.semantic.inherit or self.prelude.steps:
                raise ValueError(
                    "learns: where a decoder learns, semantic.codec, semantic.inherit and prelude.steps stay out"
                )
        if self.prelude.steps and not (self.losses.distillation or self.losses.semantic):
            raise ValueError("prelude.steps: needs a weight above 0 for losses.distillation or losses.semantic")
        return self
