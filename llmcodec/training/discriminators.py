"""Discriminators for adversarial training, after HiFi-GAN (periods, Kong et al. 2020) and EnCodec (STFT, Defossez et
al. 2022), with the losses of both: hinge or least squares, and feature matching."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

Judged = tuple[list[Tensor], Tensor]  # features of the inner layers, verdicts
SLOPE = 0.2


class PeriodDiscriminator(nn.Module):
    """Convolutions over every `period`-th sample."""

    def __init__(self, period: int, width: int) -> None:
        super().__init__()
        self.period = period
        widths = [1, width, 2 * width, 4 * width, 4 * width]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(low, high, (5, 1), (3, 1), (2, 0)))
            for low, high in zip(widths[:-1], widths[1:], strict=True)
        )
        self.verdict = weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, wave: Tensor) -> Judged:
        """wave [B, T]."""
        folded = nn.functional.pad(wave, (0, -wave.shape[-1] % self.period))
        return _judge(folded.unflatten(-1, (-1, self.period))[:, None], self.layers, self.verdict)


class STFTDiscriminator(nn.Module):
    """Convolutions over the complex spectrogram at one resolution."""

    window: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("window", torch.hann_window(size), persistent=False)
        layers = [nn.Conv2d(2, width, (3, 9), padding=(1, 4))]
        for dilation in (1, 2, 4):
            layers.append(nn.Conv2d(width, width, (3, 9), (1, 2), (dilation, 4), (dilation, 1)))
        layers.append(nn.Conv2d(width, width, 3, padding=1))
        self.layers = nn.ModuleList(weight_norm(layer) for layer in layers)
        self.verdict = weight_norm(nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, wave: Tensor) -> Judged:
        """wave [B, T]."""
        spectrum = torch.stft(wave, self.size, self.size // 4, window=self.window, return_complex=True)
        spectrum = spectrum * self.window.square().sum().rsqrt()
        image = torch.view_as_real(spectrum).permute(0, 3, 2, 1)  # [B, 2, times, frequencies]
        return _judge(image, self.layers, self.verdict)


class Discriminators(nn.Module):
    """All of them on the same waveforms."""

    def __init__(self, stft_sizes: Sequence[int], periods: Sequence[int], width: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(
            [STFTDiscriminator(size, width) for size in stft_sizes]
            + [PeriodDiscriminator(period, width) for period in periods]
        )

    def forward(self, wave: Tensor) -> list[Judged]:
        """wave [B, T] -> what each member saw and says."""
        return [member(wave) for member in self.members]


def _judge(image: Tensor, layers: nn.ModuleList, verdict: nn.Module) -> Judged:
    features = []
    for layer in layers:
        image = nn.functional.leaky_relu(layer(image), SLOPE)
        features.append(image)
    return features, verdict(image)


Kind = Literal["hinge", "least_squares"]


def discriminator_loss(both: Sequence[Judged], kind: Kind) -> Tensor:
    """What the discriminators minimise, on a batch whose first half is real and whose second half was made: verdicts of
    1 on the first, of -1 (hinge) or 0 (least squares) on the second."""
    losses = []
    for _, verdict in both:
        good, bad = verdict.chunk(2)
        if kind == "hinge":
            losses.append((1 - good).relu().mean() + (1 + bad).relu().mean())
        else:
            losses.append((1 - good).square().mean() + bad.square().mean())
    return torch.stack(losses).mean()


def adversarial_loss(made: Sequence[Judged], kind: Kind) -> Tensor:
    """What the codec minimises: verdicts on what it made should be high."""
    losses = [-bad.mean() if kind == "hinge" else (1 - bad).square().mean() for _, bad in made]
    return torch.stack(losses).mean()


def feature_loss(real: Sequence[Judged], made: Sequence[Judged]) -> Tensor:
    """Feature matching: mean absolute difference of inner layers, each relative to the size of the real one."""
    losses = [
        (ours - theirs.detach()).abs().mean() / theirs.detach().abs().mean().clamp(min=1e-6)
        for (good, _), (bad, _) in zip(real, made, strict=True)
        for theirs, ours in zip(good, bad, strict=True)
    ]
    return torch.stack(losses).mean()
