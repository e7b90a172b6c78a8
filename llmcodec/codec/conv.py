"""The `conv` backbone: the convolutional encoder and decoder of LLM-Codec / UniAudio 1.5, at the sample rate.

Tensors are [B, channels, length]. A clip in a batch must get the same numbers as alone, where zero padding surrounds
every layer's input; so what lies behind a clip is set to zero before each convolution (`Valid`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import mul

import torch
from torch import Tensor, nn

from llmcodec.codec.config import CodecConfig, ConvConfig
from llmcodec.codec.place import Decoded, Guide, Place

HEAD_WIDTH = 64
DILATIONS = (1, 3, 9)
NOISE_FRAMES = 256  # the decoder's own noise repeats after so many frames


@dataclass(frozen=True)
class Valid:
    """Which frames are a clip's own: mask [B, 1, F], or none when all are."""

    mask: Tensor | None

    @classmethod
    def of(cls, mask: Tensor) -> Valid:
        """mask [B, F, 1]."""
        return cls(None if bool(mask.all()) else mask.transpose(1, 2))

    def __call__(self, x: Tensor) -> Tensor:
        """x [B, C, F * n], any n: zero behind each clip."""
        if self.mask is None:
            return x
        return x * self.mask.repeat_interleave(x.shape[-1] // self.mask.shape[-1], dim=-1)


class Snake(nn.Module):
    """x + sin^2(alpha x) / alpha, one alpha a channel (Ziyin et al. 2020)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.alpha * x).sin().square() / (self.alpha + 1e-9)


class ResidualUnit(nn.Module):
    """Snake, dilated convolution, Snake, pointwise convolution, added to the input."""

    def __init__(self, channels: int, dilation: int, depthwise: bool) -> None:
        super().__init__()
        self.before = Snake(channels)
        self.mix_time = nn.Conv1d(
            channels, channels, 7, padding=3 * dilation, dilation=dilation, groups=channels if depthwise else 1
        )
        self.between = Snake(channels)
        self.mix_channels = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor, valid: Valid) -> Tensor:
        return x + self.mix_channels(self.between(self.mix_time(valid(self.before(x)))))


class LocalAttention(nn.Module):
    """Attention inside windows of equal size, rotary positions from each window's start, added to the input.

    floor(F / window) windows (at least one) share the F frames equally, so it must divide them; whole windows do.
    """

    def __init__(self, channels: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.norm = nn.LayerNorm(channels)
        self.to_qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.to_out = nn.Linear(channels, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, frames = x.shape
        windows = max(1, frames // self.window)
        qkv = self.to_qkv(self.norm(x.transpose(1, 2)))
        split = qkv.reshape(batch * windows, frames // windows, 3, channels // HEAD_WIDTH, HEAD_WIDTH)
        q, k, v = split.permute(2, 0, 3, 1, 4)  # each [windows, heads, size, HEAD_WIDTH]
        mixed = nn.functional.scaled_dot_product_attention(_rotate(q), _rotate(k), v)
        return x + self.to_out(mixed.transpose(1, 2).reshape(batch, frames, channels)).transpose(1, 2)


def _rotate(x: Tensor) -> Tensor:
    """Rotary positions 0 .. n - 1 (Su et al. 2021): channel i turns with channel i + half."""
    half = x.shape[-1] // 2
    speed = 10_000 ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angle = torch.arange(x.shape[-2], device=x.device)[:, None] * speed
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * angle.cos() - second * angle.sin(), second * angle.cos() + first * angle.sin()], dim=-1)


class NoiseBlock(nn.Module):
    """x + noise * (pointwise convolution of x): noise [B or 1, 1, length] is the same in all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.level = nn.Conv1d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        return x + noise * self.level(x)


class EncoderBlock(nn.Module):
    """Three residual units, then a strided convolution that doubles the channels."""

    def __init__(self, channels: int, stride: int, depthwise: bool) -> None:
        super().__init__()
        self.units = nn.ModuleList(ResidualUnit(channels, dilation, depthwise) for dilation in DILATIONS)
        self.snake = Snake(channels)
        self.down = nn.Conv1d(channels, 2 * channels, 2 * stride, stride=stride, padding=-(-stride // 2))

    def forward(self, x: Tensor, valid: Valid) -> Tensor:
        for unit in self.units:
            x = unit(x, valid)
        return self.down(valid(self.snake(x)))


class DecoderBlock(nn.Module):
    """A transposed convolution that halves the channels, noise if there is any, then three residual units."""

    def __init__(self, channels: int, stride: int, depthwise: bool, noise: bool) -> None:
        super().__init__()
        self.snake = Snake(channels)
        self.up = nn.ConvTranspose1d(
            channels, channels // 2, 2 * stride, stride, padding=-(-stride // 2), output_padding=stride % 2
        )
        self.noise = NoiseBlock(channels // 2) if noise else None
        self.units = nn.ModuleList(ResidualUnit(channels // 2, dilation, depthwise) for dilation in DILATIONS)

    def forward(self, x: Tensor, valid: Valid, noise: Tensor) -> Tensor:
        x = self.up(valid(self.snake(x)))
        if self.noise is not None:
            x = self.noise(x, noise)
        for unit in self.units:
            x = unit(x, valid)
        return x


def _reach(net: ConvConfig) -> int:
    """Frames on either side that convolutions and attention see, encoding or decoding: the one mirrors the other."""
    samples, scale = 3, 1
    for stride in net.strides:
        samples += scale * (3 * sum(DILATIONS) + 2 * stride)
        scale *= stride
    return -(-samples // scale) + net.window + 3


class ConvEncoder(nn.Module):
    """Waveform -> latent at the frame rate."""

    def __init__(self, config: CodecConfig, net: ConvConfig) -> None:
        super().__init__()
        self.net = net
        widths = [net.encoder_width << number for number in range(len(net.strides) + 1)]
        self.first = nn.Conv1d(1, widths[0], 7, padding=3)
        self.blocks = nn.ModuleList(
            EncoderBlock(width, stride, net.depthwise) for width, stride in zip(widths[:-1], net.strides, strict=True)
        )
        self.attention = LocalAttention(widths[-1], net.window) if net.window else None
        groups = widths[-1] if net.depthwise else 1
        self.last = nn.Conv1d(widths[-1], config.latent_dim, 7, padding=3, groups=groups)

    def forward(self, wave: Tensor, mask: Tensor) -> tuple[Tensor, None]:
        """wave [B, T] of whole frames, mask [B, F, 1] -> latent [B, F, latent_dim]; there is no context branch."""
        valid = Valid.of(mask)
        x = self.first(valid(wave[:, None]))
        for block in self.blocks:
            x = block(x, valid)
        if self.attention is not None:
            x = self.attention(x)
        return self.last(valid(x)).transpose(1, 2), None

    @property
    def reach(self) -> int:
        """Frames on either side that can change an output; blocks of a stream overlap by this much."""
        return _reach(self.net)


class ConvDecoder(nn.Module):
    """Sum of the quantised layers at the frame rate -> waveform.

    The published model draws new noise at every call, even in evaluation. Here the noise is fixed, so that the same
    codes give the same sound whole, in a batch and in pieces; `draws` replaces it.
    """

    def __init__(self, config: CodecConfig, net: ConvConfig) -> None:
        super().__init__()
        self.net = net
        latent, width = config.latent_dim, net.decoder_width
        if net.depthwise:
            self.first = nn.Sequential(
                nn.Conv1d(latent, latent, 7, padding=3, groups=latent), nn.Conv1d(latent, width, 1)
            )
        else:
            self.first = nn.Sequential(nn.Conv1d(latent, width, 7, padding=3))
        self.attention = LocalAttention(width, net.window) if net.window else None
        strides = net.strides[::-1]
        widths = [width >> number for number in range(len(strides) + 1)]
        self.blocks = nn.ModuleList(
            DecoderBlock(channels, stride, net.depthwise, net.noise)
            for channels, stride in zip(widths[:-1], strides, strict=True)
        )
        self.snake = Snake(widths[-1])
        self.last = nn.Conv1d(widths[-1], 1, 7, padding=3)

    def forward(
        self,
        latent: Tensor,
        mask: Tensor,
        place: Place | None = None,
        guide: Guide | None = None,
        draws: Sequence[Tensor] | None = None,
    ) -> Decoded:
        """latent [B, F, latent_dim], mask [B, F, 1] -> what is decoded of F frames.

        place: where in its clip they begin. guide: has no use here. draws: per block, standard normal noise, [B, 1,
        length of the block's output].
        """
        valid = Valid.of(mask)
        x = self.first(valid(latent.transpose(1, 2)))
        if self.attention is not None:
            x = self.attention(x)
        if draws is None:
            draws = self._fixed_noise(mask.shape[1], place.first if place else 0)
        for block, noise in zip(self.blocks, draws, strict=True):
            x = block(x, valid, noise.to(x))
        return Decoded(self.last(valid(self.snake(x))).tanh()[:, 0])

    def noise_lengths(self, frames: int) -> list[int]:
        """Samples of noise that each block takes for so many frames."""
        return [frames * scale for scale in accumulate(self.net.strides[::-1], mul)]

    def _fixed_noise(self, frames: int, first_frame: int) -> list[Tensor]:
        """Per block, the part of an endless noise that begins at that frame: [1, 1, length]."""
        draws = []
        for block, scale in enumerate(self.noise_lengths(1)):
            noise = torch.randn(NOISE_FRAMES * scale, generator=torch.Generator().manual_seed(block))
            places = torch.arange(frames * scale) + first_frame * scale
            draws.append(noise[places % len(noise)][None, None])
        return draws

    @property
    def reach(self) -> int:
        """Frames on either side that can change an output sample."""
        return _reach(self.net)
