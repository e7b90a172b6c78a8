"""Residual quantisation whose codebooks are tables of words.

A layer's table [V, d] holds one row per word: a projection of the language model's frozen embeddings, computed once by
whoever trained the codec. Encoding takes the row with the largest cosine to the query; decoding looks rows up.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from llmcodec.codec.config import CodecConfig, LayerConfig


class QueryNorm(nn.Module):
    """Zero mean and unit variance per dimension, over all valid frames seen in training (batch norm, no affine)."""

    mean: Tensor
    variance: Tensor

    def __init__(self, dim: int, momentum: float = 0.02) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("variance", torch.ones(dim))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, T, d], mask [B, T, 1]."""
        mean, variance = self.mean, self.variance
        if self.training:
            count = mask.sum().clamp(min=2)
            mean = (x * mask).sum((0, 1)) / count
            variance = ((x - mean).square() * mask).sum((0, 1)) / count
            with torch.no_grad():
                self.mean.lerp_(mean, self.momentum)
                self.variance.lerp_(variance, self.momentum)
        return (x - mean) / (variance + 1e-5).sqrt()


@dataclass(frozen=True)
class LayerOutput:
    """What one layer did: codes long [B, T], unit queries and chosen rows, made unit, float [B, T, d], what they stand
    for at the frame rate float [B, F, latent], mask [B, T, 1]."""

    codes: Tensor
    query: Tensor
    row: Tensor
    vectors: Tensor
    mask: Tensor

    @property
    def straight_through(self) -> Tensor:
        """The rows, with the gradient of the queries."""
        return self.query + (self.row - self.query).detach()


class QuantizerLayer(nn.Module):
    """One layer: query -> word -> vector in the latent space."""

    table: Tensor

    def __init__(self, config: LayerConfig, words: int, latent_dim: int, context_dim: int) -> None:
        super().__init__()
        self.config = config
        frames = config.stride if config.patched else 1
        width, dim = context_dim if config.from_context else latent_dim * frames, config.lookup_dim or latent_dim
        self.to_query = nn.Linear(width, dim) if config.lookup_dim else nn.Identity()
        self.norm = QueryNorm(dim) if config.query_norm and not config.from_context else None
        self.to_latent = nn.Linear(dim, latent_dim * frames) if config.lookup_dim else nn.Identity()
        self.register_buffer("table", nn.functional.normalize(torch.randn(words, dim), dim=-1))

    def forward(
        self, residual: Tensor | None, context: Tensor | None, mask: Tensor, table: Tensor | None = None
    ) -> tuple[Tensor, LayerOutput]:
        """residual [B, F, latent] or context [B, F / stride, width], whichever the layer is chosen from -> quantised
        [B, F, latent] and what was done.

        `table` replaces the stored one while its projection is being trained. Gradients pass straight through to the
        residual, not to the context: what a context layer says is taught by its own losses, not by reconstruction.
        """
        table = self.table if table is None else table
        stride = self.config.stride
        mask = mask[:, ::stride]
        if self.config.from_context:
            assert context is not None, "the backbone has no context branch"
            source = context
        else:
            assert residual is not None
            patches = residual.unflatten(1, (-1, stride))
            source = patches.flatten(2) if self.config.patched else patches.mean(2)
        query = self.to_query(source)
        query = nn.functional.normalize(query if self.norm is None else self.norm(query, mask), dim=-1)
        codes = self.nearest(query.detach(), table.detach())
        row = nn.functional.embedding(codes, table)
        vectors = self._vectors(row.detach() if self.config.from_context else query + (row - query).detach())
        return vectors, LayerOutput(codes, query, nn.functional.normalize(row, dim=-1), vectors, mask)

    def decode(self, codes: Tensor) -> Tensor:
        """codes [B, T] -> [B, T * stride, latent]."""
        return self._vectors(nn.functional.embedding(codes, self.table))

    def _vectors(self, rows: Tensor) -> Tensor:
        """Rows [B, T, d] -> what they stand for at the frame rate [B, T * stride, latent]."""
        vectors = self.to_latent(rows)
        if self.config.patched:
            return vectors.unflatten(2, (self.config.stride, -1)).flatten(1, 2)
        return vectors.repeat_interleave(self.config.stride, dim=1)

    @staticmethod
    def nearest(query: Tensor, table: Tensor, chunk: int = 128, group: int = 128) -> Tensor:
        """Unit queries [B, T, d], rows [V, d] -> position of the largest cosine, the first of equals [B, T].

        So many queries at once, that their cosines stay in a processor's cache; and first the best group of rows, then
        the best row within it, for a largest value is found much faster than its place.
        """
        rows = nn.functional.normalize(table, dim=-1)
        rows = torch.cat([rows, rows[-1:].expand(-len(rows) % group, -1)])  # copies behind: the first of equals wins
        flat, found = query.reshape(-1, query.shape[-1]), []
        for piece in [flat] if torch.compiler.is_compiling() else flat.split(chunk):  # a traced loop keeps its length
            cosines = (piece @ rows.T).unflatten(1, (-1, group))
            best = cosines.amax(2).argmax(1, keepdim=True)
            inside = cosines.take_along_dim(best[..., None], 1).squeeze(1).argmax(1)
            found.append(best.squeeze(1) * group + inside)
        return torch.cat(found).reshape(query.shape[:-1])


class ResidualQuantizer(nn.Module):
    """The layers in order, each on what the layers before it left."""

    def __init__(self, config: CodecConfig, words: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            QuantizerLayer(layer, count, config.latent_dim, config.context_width)
            for layer, count in zip(config.layers, words, strict=True)
        )

    def forward(
        self, latent: Tensor, context: Tensor | None, mask: Tensor, tables: list[Tensor] | None = None
    ) -> tuple[Tensor, list[LayerOutput]]:
        """latent [B, F, latent] -> quantised latent [B, F, latent] and one `LayerOutput` per layer."""
        residual, total, outputs = latent, torch.zeros_like(latent), []
        for number, layer in enumerate(self.layers):
            quantised, output = layer(residual, context, mask, tables[number] if tables else None)
            residual, total = residual - quantised, total + quantised
            outputs.append(output)
        return total, outputs

    def decode(self, codes: list[Tensor], frames: int) -> Tensor:
        """Per layer codes [B, T_l] -> latent [B, frames, latent]; a layer adds nothing behind its end."""
        latents = []
        for layer, row in zip(self.layers, codes, strict=True):
            assert isinstance(layer, QuantizerLayer)
            vectors = layer.decode(row)[:, :frames]
            latents.append(nn.functional.pad(vectors, (0, 0, 0, frames - vectors.shape[1])))
        return torch.stack(latents).sum(0)
