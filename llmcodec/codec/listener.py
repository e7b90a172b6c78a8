"""What chooses the words of the layer that says what is heard: waveform -> context at that layer's stride.

It is the front of Whisper's encoder (Radford et al., 2022) made to stream, so that it can begin with that model's
weights: log mel energies, two convolutions that halve their rate, then layers. In place of attention, which looks at
the whole clip and counts positions, stand lightweight convolutions (Wu et al., 2019): one weight for every head and
distance in time. The slow layers work on means of neighbouring steps.

Tensors are [B, steps, width]; masks [B, steps, 1] are 1 on a clip's own steps, see `spectral`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from llmcodec.codec.config import CodecConfig, SpectralConfig
from llmcodec.codec.mel import power_spectra, slaney_filterbank
from llmcodec.codec.pointwise import Pointwise

FLOOR = 1e-7  # mel energy that counts as silence


class LightConv(nn.Module):
    """A depthwise convolution over time whose weights all channels of a head share, between two linear maps."""

    def __init__(self, width: int, heads: int, kernel: int) -> None:
        super().__init__()
        self.value = Pointwise(width, width)
        self.weight = nn.Parameter(torch.full((heads, kernel), 1 / kernel))
        self.out = Pointwise(width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        width, (heads, kernel) = x.shape[-1], self.weight.shape
        image = (self.value(x) * mask).transpose(1, 2).unsqueeze(2)  # [B, width, 1, steps] in channels-last order
        weight = self.weight.repeat_interleave(width // heads, dim=0)[:, None, None]
        mixed = nn.functional.conv2d(image, weight, padding=(0, kernel // 2), groups=width)
        return self.out(mixed.squeeze(2).transpose(1, 2))


class ListenerLayer(nn.Module):
    """A transformer layer (norms first, GELU) with a `LightConv` where attention would be."""

    def __init__(self, width: int, heads: int, kernel: int, expansion: int) -> None:
        super().__init__()
        self.time_norm = nn.LayerNorm(width)
        self.mix_time = LightConv(width, heads, kernel)
        self.step_norm = nn.LayerNorm(width)
        self.expand = Pointwise(width, expansion * width)
        self.reduce = Pointwise(expansion * width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.mix_time(self.time_norm(x), mask)
        return x + self.reduce(nn.functional.gelu(self.expand(self.step_norm(x))))


class Listener(nn.Module):
    """Waveform -> context at the stride of the layer that is chosen from it.

    It shares nothing with what encodes the rest, so that the words of that layer can be kept while all else is trained
    anew.
    """

    window: Tensor
    mel_weights: Tensor

    def __init__(self, config: CodecConfig, net: SpectralConfig) -> None:
        super().__init__()
        self.net = net
        self.spectra = config.context_stride * net.spectra_per_frame  # per word
        self.register_buffer("window", torch.hann_window(net.listener_fft_size), persistent=False)
        filters = slaney_filterbank(net.listener_mels, net.listener_fft_size, config.sample_rate)
        self.register_buffer("mel_weights", filters, persistent=False)
        width, sizes = net.listener_width, (net.listener_width, net.listener_heads)
        self.front = nn.Conv1d(net.listener_mels, width, 3, padding=1)
        self.halve = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.bias = nn.Parameter(torch.zeros(width))
        self.fast = nn.ModuleList(
            ListenerLayer(*sizes, net.listener_kernel, net.listener_expansion) for _ in range(net.listener_depth)
        )
        self.slow = nn.ModuleList(
            ListenerLayer(*sizes, net.listener_slow_kernel, net.listener_expansion)
            for _ in range(net.listener_slow_depth)
        )
        self.norm = nn.LayerNorm(width)

    def log_mel(self, wave: Tensor) -> Tensor:
        """Waveform [B, T] with T a multiple of the hop -> log mel energies [B, T / hop, mels], as Whisper takes them;
        only its floor, which hangs on the loudest moment of a clip, is fixed here."""
        size, hop = self.net.listener_fft_size, self.net.hop
        pieces = nn.functional.pad(wave, (size // 2, size // 2 - hop)).unfold(-1, size, hop)
        power = power_spectra(pieces * self.window)
        return ((power @ self.mel_weights).clamp(min=FLOOR).log10() + 4) / 4

    def forward(self, wave: Tensor, mask: Tensor) -> Tensor:
        """wave [B, T] of whole frames, mask [B, F, 1] -> context [B, F / stride, context_width]."""
        mask = mask.repeat_interleave(self.net.spectra_per_frame, dim=1)
        hidden = nn.functional.gelu(self.front((self.log_mel(wave) * mask).transpose(1, 2))) * mask.transpose(1, 2)
        x, mask = nn.functional.gelu(self.halve(hidden)).transpose(1, 2) + self.bias, mask[:, ::2]
        for layer in self.fast:
            x = layer(x, mask)
        x, mask = x.unflatten(1, (-1, self.net.listener_pool)).mean(2), mask[:, :: self.net.listener_pool]
        for layer in self.slow:
            x = layer(x, mask)
        return self.norm(x).unflatten(1, (-1, self.spectra // (2 * self.net.listener_pool))).flatten(2)

    @property
    def reach(self) -> int:
        """Frames on either side that can change an output."""
        net = self.net
        steps = net.listener_depth * (net.listener_kernel // 2)
        steps += net.listener_pool * (net.listener_slow_depth * (net.listener_slow_kernel // 2) + 1)
        spectra = 2 * steps + self.spectra + 3 + net.listener_fft_size // net.hop
        return spectra // net.spectra_per_frame + 1
