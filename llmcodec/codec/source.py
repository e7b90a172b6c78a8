"""The harmonic source of a decoder: a periodic sound of the pitch that the codes tell, shaped by a spectral envelope.

A network that works frame by frame can hardly know where the period of a voice stands in a frame; a sum of the periods
before it does. The pitch is turned into a band-limited pulse train. Its spectrum, weighted, takes the place of what the
decoder makes itself, in voiced frames and below a frequency above which voices are noise as well (harmonic plus noise
model: Stylianou 2001; neural source-filter models: Wang et al. 2019; before an inverse STFT: HiFTNet, Li et al. 2023).
Where both were free to say the same, the decoder learned to do without the source.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from llmcodec.codec.config import CodecConfig, SpectralConfig
from llmcodec.codec.place import Guide, Place
from llmcodec.codec.pointwise import Pointwise

LOWEST_HZ, HIGHEST_HZ = 55.0, 550.0
PITCHES = 96  # evenly in log frequency: 42 cents
SHARPNESS = 4.0  # power of the probabilities of which the pitch is the mean: near the likeliest, and yet continuous
TURN = 1 << 32  # phases are whole numbers of this part of a turn: their sums are exact, in one piece or in many
TOP = 0.95  # of half the sample rate: no harmonic lies above
VOICED_BELOW_HZ, OVER_HZ = 4000.0, 300.0  # and by which width the two take turns


class Harmonics(NamedTuple):
    """Spectra complex [B, n, fft_size / 2 + 1]; the share of others that they leave, likewise; the phase at each hop,
    int64 [B, n]; scores [B, n, PITCHES + 1] of the pitches, and of there being one."""

    spectra: Tensor
    left: Tensor
    turns: Tensor
    scores: Tensor


class HarmonicSource(nn.Module):
    """What a decoder knows of each spectrum -> the spectrum of its periodic part."""

    window: Tensor
    pitches: Tensor
    spread: Tensor
    low: Tensor

    def __init__(self, config: CodecConfig, net: SpectralConfig) -> None:
        super().__init__()
        self.net, self.sample_rate = net, config.sample_rate
        self.to_pitch = Pointwise(net.fine_width, PITCHES + 1)
        self.to_envelope = Pointwise(net.fine_width, net.harmonic_bands)
        nn.init.constant_(self.to_envelope.bias, -3.0)  # log magnitudes
        self.register_buffer("window", torch.hann_window(net.fft_size), persistent=False)
        ratio = math.log(HIGHEST_HZ / LOWEST_HZ)
        self.register_buffer("pitches", torch.linspace(0, ratio, PITCHES).exp() * LOWEST_HZ, persistent=False)
        self.register_buffer(
            "spread", interpolation(net.harmonic_bands, net.fft_size, config.sample_rate), persistent=False
        )
        bins = torch.linspace(0, config.sample_rate / 2, net.fft_size // 2 + 1)
        self.register_buffer("low", ((VOICED_BELOW_HZ - bins) / OVER_HZ).sigmoid(), persistent=False)

    def forward(
        self, hidden: Tensor, mask: Tensor, place: Place | None = None, guide: Guide | None = None
    ) -> Harmonics:
        """hidden [B, n, fine_width], mask [B, n, 1].

        place: where in its clip that begins. guide: what takes the place of what is expected.
        """
        scores = self.to_pitch(hidden).float()
        frequency, voiced = self.expected(scores)
        if guide is not None:
            told = guide.pitch > 0
            frequency = torch.where(told, guide.pitch, frequency)
            voiced = told.float() if guide.voicing else voiced
        wave, turns = self.pulses(frequency.detach(), mask[..., 0], place)
        margin = (self.net.fft_size - self.net.hop) // 2
        pieces = nn.functional.pad(wave, (margin, margin)).unfold(-1, self.net.fft_size, self.net.hop)
        envelope = (self.to_envelope(hidden).float() @ self.spread).clamp(max=6).exp()
        voiced = voiced[..., None]
        spectra = torch.fft.rfft(pieces * self.window) * (voiced * envelope)
        return Harmonics(spectra, 1 - voiced * self.low, turns, scores)

    def expected(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Scores [B, n, PITCHES + 1] -> pitch in Hz [B, n], a mean in log frequency; probability that there is one."""
        shares = (SHARPNESS * scores[..., :-1]).softmax(-1)
        return (shares @ self.pitches.log()).exp(), scores[..., -1].sigmoid()

    def pulses(self, frequency: Tensor, mask: Tensor, place: Place | None) -> tuple[Tensor, Tensor]:
        """Frequency in Hz at the start of each hop [B, n], mask [B, n] -> pulse train [B, n * hop] of unit power, 0
        where the mask is; phase at the start of each hop [B, n], 0 at the first if `place` does not tell."""
        hop = self.net.hop
        following = torch.cat([frequency[:, 1:], frequency[:, -1:]], dim=1)
        inside = torch.cat([mask[:, 1:], mask[:, -1:]], dim=1) > 0
        following = torch.where(inside, following, frequency)
        cycles = (frequency + following) * (0.5 * hop / self.sample_rate)
        advance = (cycles * TURN).round().long()
        turns = advance.cumsum(1) - advance
        if place and place.turns is not None:
            known = place.known * self.net.spectra_per_frame
            turns = turns - turns[:, known : known + 1] + place.turns[:, None]
        turns = turns % TURN
        time = torch.arange(hop, device=frequency.device) / self.sample_rate
        slope = (following - frequency) * (0.5 * self.sample_rate / hop)
        phase = (turns / TURN)[..., None] + frequency[..., None] * time + slope[..., None] * time.square()
        phase = phase - phase.round()
        count = (TOP * self.sample_rate / 2 / torch.maximum(frequency, following)).floor()[..., None]
        below = (math.pi * phase).sin()
        peak = below.abs() < 1e-6  # where the kernel is 0 / 0
        kernel = ((2 * count + 1) * math.pi * phase).sin() / torch.where(peak, 1.0, below)  # Dirichlet's
        cosines = torch.where(peak, 2 * count + 1, kernel) - 1  # twice their sum
        wave = cosines * (0.5 / count).sqrt() * mask[..., None]
        return wave.flatten(1), turns


def pitch_place(pitch: Tensor) -> Tensor:
    """Pitch in Hz -> its place among the `PITCHES`, 0 to `PITCHES` - 1, of whole numbers and what lies between."""
    octaves = (pitch.clamp(LOWEST_HZ, HIGHEST_HZ) / LOWEST_HZ).log2()
    return octaves * ((PITCHES - 1) / math.log2(HIGHEST_HZ / LOWEST_HZ))


def interpolation(bands: int, fft_size: int, sample_rate: int) -> Tensor:
    """[bands, fft_size / 2 + 1]: from values at points even in mel, 0 Hz to half the sample rate, to all bins."""
    bins = 2595 * (1 + torch.linspace(0, sample_rate / 2, fft_size // 2 + 1) / 700).log10()
    place = bins / bins[-1] * (bands - 1)
    return (1 - (place - torch.arange(bands)[:, None]).abs()).clamp(min=0)
