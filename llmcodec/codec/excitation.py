"""What the `spectral` decoder shapes into sound: a pulse train at the decoded pitch, and a fixed noise.

Both have a flat spectrum; the decoder predicts how loud each is at every time and frequency (harmonic plus noise, Serra
and Smith 1990; pulses as the source of a neural filter, Wang et al. 2019). A network at the frame rate cannot predict
the phases of a voice's harmonics, and without them can only blur them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from llmcodec.codec.config import SpectralConfig

NOISE_SPECTRA = 256  # the noise repeats after so many hops


@dataclass(frozen=True)
class Origin:
    """Where a piece of a clip begins, for decoding a clip piece by piece: so that its source goes on as in the whole.

    hops: how many hops of the clip lie before the piece. anchor, phase: at hop `anchor` of the piece the pulse train is
    at `phase` (periods, float64 [B] or a number).
    """

    hops: int = 0
    anchor: int = 0
    phase: Tensor | float = 0.0


START = Origin()


@dataclass(frozen=True)
class Decoded:
    """wave float32 [B, F * frame_samples]; of a decoder with a pulse train also, at the n spectra of the F frames,
    pitch_logits [B, n, pitch_bins] and the phases where hops begin (periods, float64 [B, n])."""

    wave: Tensor
    pitch_logits: Tensor | None = None
    phases: Tensor | None = None


class Excitation(nn.Module):
    """Spectra of the two sources, at the decoder's STFT grid, about 1 in mean square."""

    noise: Tensor
    pitches: Tensor

    def __init__(self, net: SpectralConfig, sample_rate: int) -> None:
        super().__init__()
        self.net, self.sample_rate = net, sample_rate
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("noise", torch.randn(NOISE_SPECTRA * net.hop, generator=generator))
        steps = torch.linspace(0, 1, net.pitch_bins)
        self.register_buffer("pitches", net.pitch_low * (net.pitch_high / net.pitch_low) ** steps, persistent=False)

    def forward(self, pitch: Tensor, mask: Tensor, window: Tensor, origin: Origin) -> tuple[Tensor, Tensor, Tensor]:
        """pitch [B, n] in Hz per spectrum, mask [B, n, 1], window [fft_size] -> complex spectra of the pulses
        [B, n, fft_size / 2 + 1] and of the noise [n, fft_size / 2 + 1], and the phase of the pulses where each hop
        begins, in periods, float64 [B, n].
        """
        last = mask[..., 0].sum(1, keepdim=True).long() - 1
        pitch = pitch.gather(1, torch.arange(pitch.shape[1], device=pitch.device).minimum(last))  # hold it in padding
        edges = torch.cat([pitch[:, :1], (pitch[:, 1:] + pitch[:, :-1]) / 2, pitch[:, -1:]], dim=1).double()
        advance = (edges[:, 1:] + edges[:, :-1]) * (self.net.hop / 2 / self.sample_rate)
        phases = advance.cumsum(1) - advance
        phases = (phases - phases[:, origin.anchor, None] + torch.as_tensor(origin.phase).reshape(-1, 1)) % 1
        scale = window.square().sum().rsqrt()
        pulses = self._spectra((self._pulse_train(pitch, edges, phases) * mask).flatten(1), window) * scale
        wrapped = torch.cat([self.noise[-self._margin :], self.noise, self.noise[: self._margin]])
        noise = torch.fft.rfft(wrapped.unfold(0, self.net.fft_size, self.net.hop) * window) * scale
        places = (torch.arange(pitch.shape[1], device=pitch.device) + origin.hops) % NOISE_SPECTRA
        return pulses, noise[places], phases

    @property
    def _margin(self) -> int:
        return (self.net.fft_size - self.net.hop) // 2

    def _spectra(self, wave: Tensor, window: Tensor) -> Tensor:
        padded = nn.functional.pad(wave, (self._margin, self._margin))
        return torch.fft.rfft(padded.unfold(-1, self.net.fft_size, self.net.hop) * window)

    def _pulse_train(self, pitch: Tensor, edges: Tensor, phases: Tensor) -> Tensor:
        """Unit-power sum of all harmonics below the Nyquist frequency, in cosine phase: [B, n, hop].

        Pitch runs linearly from edge to edge. The sum has a closed form, the Dirichlet kernel.
        """
        time = torch.arange(self.net.hop, device=pitch.device) / self.sample_rate
        low, rise = edges[:, :-1, None].float(), (edges[:, 1:] - edges[:, :-1])[..., None].float()
        cycles = phases[..., None].float() + time * (low + rise * time * (self.sample_rate / self.net.hop / 2))
        half = torch.pi * (cycles - cycles.round())
        harmonics = (self.sample_rate / 2 / pitch).floor()[..., None]
        small = half.abs() < 1e-4
        kernel = ((2 * harmonics + 1) * half).sin() / torch.where(small, torch.ones_like(half), half.sin())
        kernel = torch.where(small, 2 * harmonics + 1, kernel)
        return (kernel - 1) / 2 * (2 / harmonics).sqrt()
