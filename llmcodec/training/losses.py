"""Losses. Every function returns a scalar mean; masks are 1 on what counts.

What needs a network of its own stands elsewhere: `adversary` (discriminators) and `listening` (Whisper).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from llmcodec.codec.mel import mel_filterbank
from llmcodec.codec.quantizer import LayerOutput

FFT_SIZES = (256, 640, 2048)
MELS = {256: 20, 640: 48, 2048: 96}
ENVELOPE_FFT = 640
ENVELOPE_SECONDS = 0.384
ENVELOPE_STRIDE = 4  # hops between segments
ENVELOPE_FLOOR = 1e-2  # amplitude of a band below which its envelope hardly counts


class ReconstructionLoss(nn.Module):
    """Multi-resolution STFT loss (log magnitude and spectral convergence, Parallel WaveGAN eq. 3-6), mel loss (L1 of
    log mel energies at the same resolutions), and envelope loss (see `envelope_loss`)."""

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        for size in FFT_SIZES:
            self.register_buffer(f"window_{size}", torch.hann_window(size), persistent=False)
            self.register_buffer(f"mel_{size}", mel_filterbank(MELS[size], size, sample_rate), persistent=False)
        self.octaves: Tensor
        self.register_buffer("octaves", third_octaves(ENVELOPE_FFT, sample_rate), persistent=False)
        self.segment = round(ENVELOPE_SECONDS * sample_rate / (ENVELOPE_FFT // 4))

    def forward(self, made: Tensor, wanted: Tensor) -> dict[str, Tensor]:
        """Waveforms [B, T] -> `stft`, `mel`, `envelope`."""
        stft, mel, envelope = (made.new_zeros(()) for _ in range(3))
        for size in FFT_SIZES:
            ours = self._power(made, size)
            with torch.no_grad():
                theirs = self._power(wanted, size)
            amplitude, target = (ours + 1e-6).sqrt(), (theirs + 1e-6).sqrt()
            convergence = (target - amplitude).norm() / target.norm().clamp(min=1e-3)
            stft = stft + convergence + (amplitude.log() - target.log()).abs().mean()
            weights = getattr(self, f"mel_{size}")
            mel = mel + ((ours @ weights + 1e-5).log() - (theirs @ weights + 1e-5).log()).abs().mean()
            if size == ENVELOPE_FFT:
                bands, wanted_bands = ((x @ self.octaves + ENVELOPE_FLOOR**2).sqrt() for x in (ours, theirs))
                envelope = envelope_loss(bands, wanted_bands, self.segment)
        return {"stft": stft / len(FFT_SIZES), "mel": mel / len(FFT_SIZES), "envelope": envelope}

    def _power(self, wave: Tensor, size: int) -> Tensor:
        """Waveform [B, T] -> power [B, n, size / 2 + 1]."""
        window = getattr(self, f"window_{size}")
        spectrum = torch.stft(wave, size, size // 4, window=window, return_complex=True).transpose(1, 2)
        return spectrum.real.square() + spectrum.imag.square()


def envelope_loss(made: Tensor, wanted: Tensor, segment: int) -> Tensor:
    """One minus the correlation of band envelopes [B, n, bands] in segments of n: what STOI measures (Taal et al. 2011,
    eq. 5), without its clipping."""
    ours, theirs = (
        nn.functional.normalize(pieces - pieces.mean(-1, keepdim=True), dim=-1, eps=1e-4)
        for pieces in (x.unfold(1, min(segment, x.shape[1]), ENVELOPE_STRIDE) for x in (made, wanted))
    )
    return 1 - (ours * theirs).sum(-1).mean()


def third_octaves(fft_size: int, sample_rate: int) -> Tensor:
    """The 15 third-octave bands of STOI, from 150 Hz to 3.8 kHz at centre: [fft_size / 2 + 1, 15], ones and zeros."""
    centres = 150 * 2 ** (torch.arange(15) / 3)
    bins = torch.linspace(0, sample_rate / 2, fft_size // 2 + 1)[:, None]
    return ((bins >= centres * 2 ** (-1 / 6)) & (bins < centres * 2 ** (1 / 6))).float()


def commitment_loss(output: LayerOutput) -> Tensor:
    """One minus the cosine between a query and the (held) row it chose: moves the encoder."""
    return masked_mean(1 - (output.query * output.row.detach()).sum(-1, keepdim=True), output.mask)


def codebook_loss(output: LayerOutput) -> Tensor:
    """One minus the cosine between a row and the (held) query that chose it: moves the projection."""
    return masked_mean(1 - (output.query.detach() * output.row).sum(-1, keepdim=True), output.mask)


def entropy_loss(output: LayerOutput, table: Tensor, positions: int, sharpness: float = 30.0) -> Tensor:
    """Mean entropy of single assignments minus entropy of the mean assignment, in nats over log V.

    Low when every query is sure of its word and all words are used. An assignment is the softmax of `sharpness` times
    the cosine; the first `positions` valid queries of a random order are used.
    """
    queries = output.query[output.mask[..., 0] > 0]
    queries = queries[torch.randperm(len(queries), device=queries.device)[:positions]]
    log_p = (sharpness * queries @ table.T).log_softmax(-1)
    p = log_p.exp()
    single = -(p * log_p).sum(-1).mean()
    mean = p.mean(0)
    together = -(mean * (mean + 1e-9).log()).sum()
    return (single - together) / torch.log(torch.tensor(float(len(table))))


def distillation_loss(output: LayerOutput, target: Tensor, table: Tensor, sharpness: float = 20.0) -> Tensor:
    """Semantic queries [B, T, d] towards the teacher's unit targets: one minus their cosine, plus 0.2 times the
    divergence (KL, nats) of the word probabilities of the query from those of the target; both are the softmax of
    `sharpness` times the cosine to the rows of `table`."""
    cosine = 1 - (output.query * target).sum(-1, keepdim=True)
    wanted = (sharpness * target @ table.T).log_softmax(-1)
    found = (sharpness * output.query @ table.T).log_softmax(-1)
    divergence = (wanted.exp() * (wanted - found)).sum(-1, keepdim=True)
    return masked_mean(cosine + 0.2 * divergence, output.mask)


def consistency_loss(predicted: Tensor, features: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error between predicted and standardised teacher features [B, T, dim] (1.0: nothing explained)."""
    return masked_mean((predicted - features).square().mean(-1, keepdim=True), mask)


def semantic_loss(predicted: Tensor, texts: Tensor, has_text: Tensor) -> Tensor:
    """One minus the cosine between predicted [B, e] and text embeddings [B, e], over clips that have a text."""
    cosine = nn.functional.cosine_similarity(predicted, texts, dim=-1)
    return masked_mean(1 - cosine, has_text)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum().clamp(min=1)
