"""Import of the checkpoint that LLM-Codec / UniAudio 1.5 published (`semantic_acoustic.pth`)."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from llmcodec.codec.config import CodecConfig, ConvConfig, LayerConfig
from llmcodec.codec.conv import ConvDecoder
from llmcodec.codec.model import LLMCodec
from llmcodec.errors import ModelError, first_line
from llmcodec.vocabulary import Vocabulary

CONTAINER_KEY = "codec_model"
NAMES = ("semantic", "coarse", "fine")
_CHUNK = 2048  # rows of a table projected at once
_QUANTIZER = "quantizer.quantizers"
State = Mapping[str, Tensor]


class OfficialCodec(LLMCodec):
    """An imported codec. Besides what every codec does, it codes as the published model does: zero-padded to whole
    windows, with a code for every frame of the padding."""

    @torch.inference_mode()
    def encode_codes(self, wave: Tensor, padded: bool = True) -> list[Tensor]:
        """wave float32 [B, 1, T] -> codes long [B, T_l] per layer.

        padded: as published, codes of the zeros behind the clip too (1 s gives 10, 20, 40); else ceil(frames / stride).
        """
        if wave.ndim != 3 or wave.shape[1] != 1 or not wave.shape[2]:
            raise ModelError(f"a batch of waveforms is [B, 1, samples] and not empty, not {list(wave.shape)}")
        codes = self._encode_batch(list(nn.functional.pad(wave[:, 0], (0, -wave.shape[2] % self.config.unit_samples))))
        if padded:
            return list(codes.layers)
        frames = -(-wave.shape[2] // self.config.frame_samples)
        return [layer[:, : -(-frames // stride)] for layer, stride in zip(codes.layers, self.strides, strict=True)]

    @torch.inference_mode()
    def decode_codes(
        self, codes: Sequence[Tensor], draws: Sequence[Tensor] | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Codes long [B, T_l] per layer, of whole windows -> wave float32 [B, 1, samples of all frames].

        The published decoder adds new noise at every call: draws, or normal numbers from `generator` (none: torch's),
        one tensor [B, 1, length] for each block in order. `decode` has fixed noise instead.
        """
        batch, frames = codes[-1].shape[0], codes[-1].shape[1] * self.strides[-1]
        wanted = [frames // stride for stride in self.strides]
        if frames % self.config.frames_multiple or [layer.shape[1] for layer in codes] != wanted:
            found = ", ".join(str(layer.shape[1]) for layer in codes)
            raise ModelError(
                f"codes of {found} per layer are not whole windows of {self.config.frames_multiple} frames, "
                f"{' + '.join(str(self.config.frames_multiple // stride) for stride in self.strides)} codes each"
            )
        decoder = self.decoder
        assert isinstance(decoder, ConvDecoder)
        if draws is None:
            draws = [torch.randn(batch, 1, length, generator=generator) for length in decoder.noise_lengths(frames)]
        latent = self.quantizer.decode([layer.to(self.device) for layer in codes], frames)
        mask = torch.ones(batch, frames, 1, device=self.device)
        return decoder(latent, mask, draws=draws).wave[:, None]


def load_official_checkpoint(
    path: str | Path,
    layer0_words: Sequence[str] | None = None,
    token_words: Sequence[str] | None = None,
    strides: Sequence[int] = (4, 2, 1),
    window: int = 8,
) -> OfficialCodec:
    """Read the authors' `.pth` with torch's restricted unpickler, in evaluation mode. Sizes are taken from its tensors.

    layer0_words: the authors' 3,248 words in their order; without them code i is called <i>.
    token_words: the pieces of LLaMA-2's tokenizer by id, for the other layers; without them code i is called <i>.
    strides, window: frames per code of each layer and frames per attention window, which no tensor tells.

    The language model's rows stay on disk but for a few thousand at a time: kept are the projected tables. ModelError
    for anything that is not such a file, executable pickles included.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        state = content[CONTAINER_KEY]
        return codec_from_state(state, layer0_words, token_words, strides, window)
    except (OSError, RuntimeError, pickle.UnpicklingError, KeyError, TypeError, EOFError, ValueError) as error:
        raise ModelError(f"{path}: not a checkpoint of the published codec: {first_line(error)}") from error


def codec_from_state(
    state: State,
    layer0_words: Sequence[str] | None = None,
    token_words: Sequence[str] | None = None,
    strides: Sequence[int] = (4, 2, 1),
    window: int = 8,
) -> OfficialCodec:
    """The codec of a state dict with the published names. ModelError names what is missing, left over or misshapen."""
    reader = _Reader(state)
    projected = f"{_QUANTIZER}.0.cb_proj.weight" in state
    net = _conv_config(state, window)
    latent = net.encoder_width << len(net.strides)
    tables = [f"{_QUANTIZER}.{number}.codebook.weight" for number in range(len(strides))]
    rows = [reader.shape(name) for name in tables]
    lookup = 0 if projected else rows[0][1]
    layers = tuple(
        LayerConfig(name, stride, lookup, query_norm=False) for name, stride in zip(NAMES, strides, strict=False)
    )
    given = [layer0_words, *[token_words] * (len(rows) - 1)]
    words = [
        _vocabulary(found, shape[0], number) for number, (found, shape) in enumerate(zip(given, rows, strict=True))
    ]
    codec = OfficialCodec(CodecConfig(latent_dim=latent, backbone=net, layers=layers), words)
    ours = dict(_encoder(reader, net)) | dict(_decoder(reader, net))
    for number, table in enumerate(tables):
        ours |= _quantizer_layer(reader, number, table, projected)
    reader.check_all_read()
    wanted = {name: value.shape for name, value in codec.state_dict().items()}
    wrong = [name for name, value in ours.items() if value.shape != wanted[name]]
    if wrong:
        raise ModelError(f"the shape {list(ours[wrong[0]].shape)} of {wrong[0]} is not {list(wanted[wrong[0]])}")
    codec.load_state_dict(ours)
    return codec.eval().requires_grad_(False)


class _Reader:
    """Tensors by their published names; knows which were asked for."""

    def __init__(self, state: State) -> None:
        self.state, self.read = state, set[str]()

    def __call__(self, name: str) -> Tensor:
        if name not in self.state:
            raise ModelError(f"there is no tensor {name}")
        self.read.add(name)
        return self.state[name].float()

    def shape(self, name: str) -> tuple[int, ...]:
        if name not in self.state:
            raise ModelError(f"there is no tensor {name}")
        return tuple(self.state[name].shape)

    def normed(self, name: str) -> Tensor:
        """The weight that `name`.weight_g and .weight_v stand for."""
        gain, direction = self(f"{name}.weight_g"), self(f"{name}.weight_v")
        return gain * direction / direction.flatten(1).norm(dim=1).reshape(-1, *[1] * (direction.ndim - 1))

    def check_all_read(self) -> None:
        left = sorted(name for name in self.state if name not in self.read and not name.endswith("rel_pos.inv_freq"))
        if left:
            raise ModelError(f"{len(left)} tensors have unknown names, such as {left[0]}")


def _conv_config(state: State, window: int) -> ConvConfig:
    found = (re.fullmatch(r"encoder\.block\.(\d+)\.block\.4\.weight_v", name) for name in state)
    blocks = sorted(int(match[1]) for match in found if match)
    try:
        strides = tuple(state[f"encoder.block.{block}.block.4.weight_v"].shape[2] // 2 for block in blocks)
        depthwise = state["encoder.block.1.block.0.block.1.weight_v"].shape[1] == 1
        width = state[f"decoder.model.{1 if depthwise else 0}.weight_g"].shape[0]
        first = state["encoder.block.0.weight_v"].shape[0]
    except (KeyError, IndexError) as error:
        raise ModelError(f"there is no tensor {error.args[0]}") from error
    attends = f"encoder.block.{len(blocks) + 1}.norm.weight" in state
    noise = any(name.endswith("block.2.linear.weight_g") for name in state)
    return ConvConfig(
        encoder_width=first,
        strides=strides,
        decoder_width=width,
        window=window if attends else 0,
        depthwise=depthwise,
        noise=noise,
    )


def _vocabulary(words: Sequence[str] | None, rows: int, layer: int) -> Vocabulary:
    if words is None:
        return Vocabulary(tuple(f"<{code}>" for code in range(rows)))
    if len(words) != rows:
        raise ModelError(f"{len(words)} words were given for layer {layer}, whose table has {rows} rows")
    return Vocabulary(tuple(words))


def _convolution(read: _Reader, theirs: str, ours: str, bias: bool = True) -> dict[str, Tensor]:
    found = {f"{ours}.weight": read.normed(theirs)}
    return found | {f"{ours}.bias": read(f"{theirs}.bias")} if bias else found


def _unit(read: _Reader, theirs: str, ours: str) -> dict[str, Tensor]:
    snakes = {f"{ours}.before.alpha": read(f"{theirs}.block.0.alpha")}
    snakes |= {f"{ours}.between.alpha": read(f"{theirs}.block.2.alpha")}
    mix_time = _convolution(read, f"{theirs}.block.1", f"{ours}.mix_time")
    return snakes | mix_time | _convolution(read, f"{theirs}.block.3", f"{ours}.mix_channels")


def _attention(read: _Reader, theirs: str, ours: str) -> dict[str, Tensor]:
    names = ("norm.weight", "norm.bias", "to_qkv.weight", "to_out.weight")
    return {f"{ours}.attention.{name}": read(f"{theirs}.{name}") for name in names}


def _encoder(read: _Reader, net: ConvConfig) -> dict[str, Tensor]:
    ours = _convolution(read, "encoder.block.0", "encoder.first")
    for number in range(len(net.strides)):
        theirs, block = f"encoder.block.{number + 1}", f"encoder.blocks.{number}"
        for unit in range(3):
            ours |= _unit(read, f"{theirs}.block.{unit}", f"{block}.units.{unit}")
        ours[f"{block}.snake.alpha"] = read(f"{theirs}.block.3.alpha")
        ours |= _convolution(read, f"{theirs}.block.4", f"{block}.down")
    place = len(net.strides) + 1
    if net.window:
        ours |= _attention(read, f"encoder.block.{place}", "encoder")
        place += 1
    return ours | _convolution(read, f"encoder.block.{place}", "encoder.last")


def _decoder(read: _Reader, net: ConvConfig) -> dict[str, Tensor]:
    ours: dict[str, Tensor] = {}
    place = 0
    for number in range(2 if net.depthwise else 1):
        ours |= _convolution(read, f"decoder.model.{place}", f"decoder.first.{number}")
        place += 1
    if net.window:
        ours |= _attention(read, f"decoder.model.{place}", "decoder")
        place += 1
    for number in range(len(net.strides)):
        theirs, block = f"decoder.model.{place}", f"decoder.blocks.{number}"
        ours[f"{block}.snake.alpha"] = read(f"{theirs}.block.0.alpha")
        ours |= _convolution(read, f"{theirs}.block.1", f"{block}.up")
        if net.noise:
            ours |= _convolution(read, f"{theirs}.block.2.linear", f"{block}.noise.level", bias=False)
        for unit in range(3):
            ours |= _unit(read, f"{theirs}.block.{unit + (3 if net.noise else 2)}", f"{block}.units.{unit}")
        place += 1
    ours["decoder.snake.alpha"] = read(f"decoder.model.{place}.alpha")
    return ours | _convolution(read, f"decoder.model.{place + 1}", "decoder.last")


def _quantizer_layer(read: _Reader, number: int, table: str, projected: bool) -> dict[str, Tensor]:
    theirs, ours = f"{_QUANTIZER}.{number}", f"quantizer.layers.{number}"
    if projected:
        weight, bias = read(f"{theirs}.cb_proj.weight"), read(f"{theirs}.cb_proj.bias")
        read.read.add(table)
        parts = read.state[table].split(_CHUNK)
        return {f"{ours}.table": torch.cat([nn.functional.linear(part.float(), weight, bias) for part in parts])}
    found = {f"{ours}.table": read(table)}
    for name, linear in (("in_proj", "to_query"), ("out_proj", "to_latent")):
        found[f"{ours}.{linear}.weight"] = read.normed(f"{theirs}.{name}")[..., 0]
        found[f"{ours}.{linear}.bias"] = read(f"{theirs}.{name}.bias")
    return found
