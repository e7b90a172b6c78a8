"""Losses. Every function returns a scalar mean; masks are 1 on what counts.

Those of discriminators stand in `discriminators`; `trainer.train_step` adds whatever `Losses` weighs above zero.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from llmcodec.codec.quantizer import LayerOutput
from llmcodec.codec.spectral import mel_filterbank

FFT_SIZES = (256, 640, 2048)
MELS = {256: 20, 640: 48, 2048: 96}


class ReconstructionLoss(nn.Module):
    """Multi-resolution STFT loss (log magnitude and spectral convergence, Parallel WaveGAN eq. 3-6) and mel loss (L1 of
    log mel energies at the same resolutions)."""

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        for size in FFT_SIZES:
            self.register_buffer(f"window_{size}", torch.hann_window(size), persistent=False)
            self.register_buffer(f"mel_{size}", mel_filterbank(MELS[size], size, sample_rate), persistent=False)

    def forward(self, made: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Waveforms [B, T] -> STFT loss, mel loss."""
        stft, mel = made.new_zeros(()), made.new_zeros(())
        for size in FFT_SIZES:
            window, weights = getattr(self, f"window_{size}"), getattr(self, f"mel_{size}")
            both = torch.stft(torch.cat([made, wanted]), size, size // 4, window=window, return_complex=True)
            power = both.real.square() + both.imag.square()
            ours, theirs = (power + 1e-6).sqrt().chunk(2)
            convergence = (theirs - ours).norm() / theirs.norm().clamp(min=1e-3)
            stft = stft + convergence + (ours.log() - theirs.log()).abs().mean()
            ours, theirs = (power.transpose(1, 2) @ weights + 1e-5).log().chunk(2)
            mel = mel + (ours - theirs).abs().mean()
        return stft / len(FFT_SIZES), mel / len(FFT_SIZES)


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
