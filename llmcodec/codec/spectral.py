"""The `spectral` backbone: all work at the frame rate, and an inverse STFT instead of upsampling layers (as in Vocos).

Tensors are [B, frames, width] throughout. `mask` [B, frames, 1] is 1 on a clip's own frames and 0 on batch padding:
every convolution over time reads masked input, so that a clip gets the same numbers alone and in any batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from llmcodec.codec.config import CodecConfig, SpectralConfig
from llmcodec.codec.listener import Listener
from llmcodec.codec.mel import mel_filterbank, power_spectra
from llmcodec.codec.place import Decoded, Guide, Place
from llmcodec.codec.pointwise import Pointwise
from llmcodec.codec.source import HarmonicSource


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution over time, then a two-layer perceptron per frame, added to the input (ConvNeXt, 2022)."""

    def __init__(self, width: int, kernel: int, expansion: int) -> None:
        super().__init__()
        self.mix_time = nn.Conv2d(width, width, (1, kernel), padding=(0, kernel // 2), groups=width)
        self.norm = nn.LayerNorm(width)
        self.expand = Pointwise(width, expansion * width)
        self.reduce = Pointwise(expansion * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.3))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        image = (x * mask).transpose(1, 2).unsqueeze(2)  # [B, width, 1, frames] in channels-last order: nothing moves
        mixed = self.mix_time(image).squeeze(2).transpose(1, 2)
        return x + self.scale * self.reduce(nn.functional.gelu(self.expand(self.norm(mixed))))


class ConvNeXtStack(nn.Module):
    """`depth` blocks and a final LayerNorm."""

    def __init__(self, width: int, depth: int, kernel: int, expansion: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ConvNeXtBlock(width, kernel, expansion) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x)


class SpectralEncoder(nn.Module):
    """Waveform -> latent at the frame rate, and context if a layer is chosen from it."""

    window: Tensor
    mel_weights: Tensor

    def __init__(self, config: CodecConfig, net: SpectralConfig) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("window", torch.hann_window(net.fft_size), persistent=False)
        self.register_buffer(
            "mel_weights", mel_filterbank(net.mels, net.fft_size, config.sample_rate), persistent=False
        )
        self.embed = Pointwise(net.mels * net.spectra_per_frame, net.encoder_width)
        self.trunk = ConvNeXtStack(net.encoder_width, net.encoder_depth, net.kernel, net.expansion)
        self.to_latent = Pointwise(net.encoder_width, config.latent_dim)
        self.listener = Listener(config, net) if config.context_stride else None

    def log_mel(self, wave: Tensor) -> Tensor:
        """Waveform [B, T] with T a multiple of the hop -> log mel energies [B, T / hop, mels], roughly in -1..1."""
        margin = (self.net.fft_size - self.net.hop) // 2
        pieces = nn.functional.pad(wave, (margin, margin)).unfold(-1, self.net.fft_size, self.net.hop)
        power = power_spectra(pieces * self.window)
        return (power @ self.mel_weights + 1e-5).log() / 6

    def forward(self, wave: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """wave [B, T] of whole frames, mask [B, F, 1] -> latent [B, F, latent_dim], context [B, F / stride, width]."""
        mel = self.log_mel(wave).reshape(*mask.shape[:2], -1)
        latent = self.to_latent(self.trunk(self.embed(mel), mask))
        return latent, None if self.listener is None else self.listener(wave, mask)

    @property
    def reach(self) -> int:
        """Frames on either side that can change an output; blocks of a stream overlap by this much."""
        own = self.net.encoder_depth * (self.net.kernel // 2) + 1
        return own if self.listener is None else max(own, self.listener.reach)


class SpectralDecoder(nn.Module):
    """Sum of the quantised layers at the frame rate -> waveform."""

    window: Tensor

    def __init__(self, config: CodecConfig, net: SpectralConfig) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("window", torch.hann_window(net.fft_size), persistent=False)
        self.embed = Pointwise(config.latent_dim, net.decoder_width)
        self.trunk = ConvNeXtStack(net.decoder_width, net.decoder_depth, net.kernel, net.expansion)
        self.split = Pointwise(net.decoder_width, net.spectra_per_frame * net.fine_width)
        self.fine = ConvNeXtStack(net.fine_width, net.fine_depth, net.kernel, net.expansion)
        self.to_spectrum = Pointwise(net.fine_width, net.fft_size + 2)
        nn.init.constant_(self.to_spectrum.bias[: net.fft_size // 2 + 1], -3.0)  # begin quiet: log magnitudes
        self.source = HarmonicSource(config, net) if net.harmonic_bands else None

    def forward(self, latent: Tensor, mask: Tensor, place: Place | None = None, guide: Guide | None = None) -> Decoded:
        """latent [B, F, latent_dim], mask [B, F, 1] -> what is decoded of F frames.

        place: where in its clip they begin. guide: of the harmonic source, in training.
        """
        hidden = self.trunk(self.embed(latent), mask)
        batch, frames, _ = hidden.shape
        hidden = self.split(hidden).reshape(batch, frames * self.net.spectra_per_frame, self.net.fine_width)
        mask = mask.repeat_interleave(self.net.spectra_per_frame, dim=1)
        hidden = self.fine(hidden, mask)
        log_magnitude, phase = self.to_spectrum(hidden).float().chunk(2, dim=-1)
        spectra, turns, scores = torch.polar(log_magnitude.clamp(max=6).exp(), phase), None, None
        if self.source is not None:
            harmonics = self.source(hidden, mask, place, guide)
            spectra = spectra * harmonics.left + harmonics.spectra
            turns, scores = harmonics.turns[:, :: self.net.spectra_per_frame], harmonics.scores
        return Decoded(self._overlap_add(torch.fft.irfft(spectra, n=self.net.fft_size), mask), turns, scores)

    def _overlap_add(self, pieces: Tensor, mask: Tensor) -> Tensor:
        """Pieces [B, n, fft_size], mask [B, n, 1] -> [B, n * hop], each sample over the window energy it received."""
        _, count, size = pieces.shape
        total = (count - 1) * self.net.hop + size
        margin = (size - self.net.hop) // 2

        def add(columns: Tensor) -> Tensor:
            folded = nn.functional.fold(columns, (1, total), (1, size), stride=(1, self.net.hop))
            return folded[:, 0, 0, margin : total - margin]

        energy = add((self.window.square() * mask).transpose(1, 2))
        return add((pieces * self.window * mask).transpose(1, 2)) / energy.clamp(min=1e-8)

    @property
    def reach(self) -> int:
        """Frames on either side that can change an output sample."""
        fine = self.net.fine_depth * (self.net.kernel // 2) + self.net.fft_size // self.net.hop
        return self.net.decoder_depth * (self.net.kernel // 2) + fine // self.net.spectra_per_frame + 2
