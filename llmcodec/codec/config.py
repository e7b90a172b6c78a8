"""What a codec is made of: the content of a checkpoint's config.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from math import lcm, prod
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from llmcodec import formats
from llmcodec.errors import ModelError, first_line

FORMAT = "llmcodec-codec-1"
MAX_UNIT_SECONDS = 10  # a clip is padded to whole units, so that a short one must not become a long one

Size = Annotated[int, Field(ge=1, le=65_536)]
Bins = Annotated[int, Field(ge=2, le=8_192)]
Depth = Annotated[int, Field(ge=0, le=256)]
Stride = Annotated[int, Field(ge=1, le=4_096)]
Name = Annotated[str, Field(pattern=r"^\w[\w.-]{0,99}$")]  # it becomes a file's


@dataclass(frozen=True)
class SpectralConfig:
    """The `spectral` backbone: ConvNeXt blocks at the frame rate between a log-mel input and an inverse STFT output.

    The listener, in the sizes of Whisper-base, works at half the rate of the spectra; its slow layers on means of
    `listener_pool` such steps. `harmonic_bands`: points of the envelope of the decoder's harmonic source; 0: it has
    none, as in checkpoints that do not name it.
    """

    kind: str = "spectral"
    fft_size: Bins = 640
    hop: Bins = 160
    mels: Stride = 100
    spectra_per_frame: Stride = 3
    kernel: Stride = 7
    expansion: Size = 3
    encoder_width: Size = 192
    encoder_depth: Depth = 3
    listener_fft_size: Bins = 400
    listener_mels: Stride = 80
    listener_width: Size = 512
    listener_heads: Stride = 8
    listener_expansion: Size = 4
    listener_depth: Depth = 1
    listener_kernel: Stride = 51
    listener_pool: Stride = 3
    listener_slow_depth: Depth = 2
    listener_slow_kernel: Stride = 17
    decoder_width: Size = 336
    decoder_depth: Depth = 6
    fine_width: Size = 160
    fine_depth: Depth = 2
    harmonic_bands: Annotated[int, Field(ge=0, le=8_192)] = 0

    @property
    def frame_samples(self) -> int:
        return self.hop * self.spectra_per_frame


@dataclass(frozen=True)
class ConvConfig:
    """The `conv` backbone: the architecture that LLM-Codec / UniAudio 1.5 published, with its values."""

    kind: str = "conv"
    encoder_width: Size = 32
    strides: Annotated[tuple[Stride, ...], Field(min_length=1, max_length=16)] = (3, 4, 5, 8)
    decoder_width: Size = 1536
    window: Annotated[int, Field(ge=0, le=4_096)] = 8  # frames that see each other in attention; 0: no attention
    depthwise: bool = True
    noise: bool = True

    @property
    def frame_samples(self) -> int:
        return prod(self.strides)


@dataclass(frozen=True)
class LayerConfig:
    """One residual layer: a code every `stride` frames, chosen among words by cosine in `lookup_dim` dimensions (0: in
    the latent space itself).

    With `from_context` the encoder's context branch chooses the word (the layer says what is heard); otherwise the
    residual does (the layer says what is still missing). With `query_norm` queries are standardised over what was seen
    in training. A `patched` code is chosen from all of its frames and stands for as many vectors; otherwise, as in
    LLM-Codec, from their mean, and its one vector is repeated.
    """

    name: Name
    stride: Stride
    lookup_dim: Annotated[int, Field(ge=0, le=65_536)]
    from_context: bool = False
    query_norm: bool = True
    patched: bool = False


@dataclass(frozen=True)
class CodecConfig:
    """Everything needed to build an `LLMCodec` before its weights are loaded."""

    sample_rate: Annotated[int, Field(ge=4_000, le=192_000)] = 16_000
    latent_dim: Size = 256
    backbone: SpectralConfig | ConvConfig = field(default_factory=SpectralConfig)
    layers: Annotated[tuple[LayerConfig, ...], Field(min_length=1, max_length=64)] = (
        LayerConfig("semantic", 4, 64, from_context=True),
        LayerConfig("coarse", 2, 16),
        LayerConfig("fine", 1, 16),
    )

    def __post_init__(self) -> None:
        context = [layer.stride for layer in self.layers if layer.from_context]
        if len(context) > 1:
            raise ModelError("at most one layer of a codec can be chosen from context")
        if len({layer.name for layer in self.layers}) != len(self.layers):
            raise ModelError("the layers of a codec need different names")
        if any(layer.patched and not layer.lookup_dim for layer in self.layers):
            raise ModelError("a patched layer needs a lookup_dim above 0")
        if self.unit_samples > MAX_UNIT_SECONDS * self.sample_rate:
            raise ModelError(f"the strides meet every {self.unit_samples} samples only; at most {MAX_UNIT_SECONDS} s")
        if isinstance(self.backbone, SpectralConfig):
            net = self.backbone
            if net.hop > net.fft_size or net.fft_size % 2 or net.hop % 2 or not net.kernel % 2:
                raise ModelError("the spectral backbone needs an odd kernel, an even fft_size and an even hop up to it")
            if net.harmonic_bands == 1:
                raise ModelError("harmonic_bands must be 0 or above 1")
            if context:
                self._check_listener(net, context[0] * net.spectra_per_frame)
        if isinstance(self.backbone, ConvConfig):
            if context:
                raise ModelError("the conv backbone has no context branch; no layer can be chosen from it")
            if self.latent_dim != self.backbone.encoder_width << len(self.backbone.strides):
                raise ModelError("latent_dim of a conv codec is encoder_width, doubled once for each stride")

    @staticmethod
    def _check_listener(net: SpectralConfig, spectra: int) -> None:
        if net.listener_fft_size % 2 or net.listener_fft_size < net.hop:
            raise ModelError("listener_fft_size must be even and no smaller than hop")
        if not net.listener_kernel % 2 or not net.listener_slow_kernel % 2:
            raise ModelError("listener_kernel and listener_slow_kernel must be odd")
        if net.listener_width % net.listener_heads:
            raise ModelError("listener_width must be a multiple of listener_heads")
        if spectra % (2 * net.listener_pool):
            raise ModelError(
                f"the layer chosen from context has a code every {spectra} spectra; that must be a multiple of twice "
                f"listener_pool, {2 * net.listener_pool}"
            )

    @property
    def frame_samples(self) -> int:
        """Samples in one frame (480: 30 ms at 16 kHz)."""
        return self.backbone.frame_samples

    @property
    def window(self) -> int:
        """Frames that see each other in attention; decoders take a multiple of it (1: there is no attention)."""
        return self.backbone.window if isinstance(self.backbone, ConvConfig) and self.backbone.window else 1

    @property
    def frames_multiple(self) -> int:
        """Clips are zero-padded to a multiple of this many frames, so that every stride and window divides them."""
        return lcm(self.window, *(layer.stride for layer in self.layers))

    @property
    def unit_samples(self) -> int:
        """Samples in that many frames: what clips are padded to a multiple of."""
        return self.frame_samples * self.frames_multiple

    @property
    def context_stride(self) -> int:
        """Frames per step of the context branch; 0 when no layer uses it."""
        return next((layer.stride for layer in self.layers if layer.from_context), 0)

    @property
    def context_width(self) -> int:
        """Numbers in one step of the context branch."""
        net = self.backbone
        if not self.context_stride or not isinstance(net, SpectralConfig):
            return 0
        return net.listener_width * self.context_stride * net.spectra_per_frame // (2 * net.listener_pool)

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> CodecConfig:
        """ModelError names an unknown, missing or impossible field. Without a `format`, it is the first one's."""
        try:
            values = json.loads(text)
            if fault := formats.fault(values.pop("format", FORMAT), FORMAT):
                raise ModelError(f"config.json is not that of a codec: {fault}")
            layers = tuple(_build(LayerConfig, layer) for layer in values.pop("layers"))
            backbone = backbone_config(values.pop("backbone"))
            return _build(cls, {**values, "layers": layers, "backbone": backbone})
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ModelError(f"config.json is not that of a codec: {first_line(error)}") from error


def backbone_config(values: Mapping[str, Any]) -> SpectralConfig | ConvConfig:
    """The configuration that `kind` names, with those fields. ModelError names an unknown kind or field."""
    kinds: dict[str, Any] = {"spectral": SpectralConfig, "conv": ConvConfig}
    kind = values.get("kind", "spectral")
    if kind not in kinds:
        raise ModelError(f"backbone.kind: {kind!r} is not one of {', '.join(kinds)}")
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    return _build(kinds[kind], {**values, **lists})


def _build(kind: type, values: dict[str, Any]) -> Any:
    known = [entry.name for entry in fields(kind)]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ModelError(f"{kind.__name__} has no field {', '.join(unknown)}; its fields are {', '.join(known)}")
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        mistake = error.errors()[0]
        name = ".".join(map(str, mistake["loc"]))
        raise ModelError(f"{kind.__name__} field {name}: {mistake['msg']}") from error
