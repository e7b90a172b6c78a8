"""What is trained: the codec, the projections that make its codebooks, and the heads that its teachers are met with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from llmcodec.codec import LLMCodec
from llmcodec.codec.quantizer import LayerOutput, QuantizerLayer
from llmcodec.codec.spectral import SpectralEncoder
from llmcodec.training import losses
from llmcodec.training.codebooks import ProjectedCodebook, TeacherSpace
from llmcodec.training.data import Batch
from llmcodec.training.recipe import Losses
from llmcodec.training.waveform import WaveformLosses

ENTROPY_POSITIONS = 256


class TrainingModel(nn.Module):
    """Codec + codebooks + heads; `forward` gives every loss that the recipe weighs above zero, unweighted."""

    space_mean: Tensor
    space_scale: Tensor
    space_basis: Tensor

    def __init__(
        self, codec: LLMCodec, codebooks: list[ProjectedCodebook], space: TeacherSpace, weights: Losses, context: float,
        text_dim: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.codec = codec
        self.codebooks = nn.ModuleList(codebooks)
        self.weights, self.context_weight = weights, context
        self.words_held = False
        for name in ("mean", "scale", "basis"):
            self.register_buffer(f"space_{name}", getattr(space, name))
        first, coarse = codec.config.layers[0], codec.config.latent_dim
        features = len(space.mean)
        self.semantic_to_features = nn.Linear(first.lookup_dim, features)
        self.coarse_to_features = nn.Linear(coarse, features)
        self.semantic_to_text = nn.Linear(first.lookup_dim, text_dim)
        self.on_wave = WaveformLosses(codec.config, weights)

    def hold_words(self) -> None:
        """From now on the words of the layer chosen from context stay what they are."""
        assert isinstance(self.codec.encoder, SpectralEncoder) and self.codec.encoder.listener is not None
        self.words_held = True
        self.codec.encoder.listener.requires_grad_(False)
        self.codec.quantizer.layers[0].to_query.requires_grad_(False)
        self.codebooks[0].requires_grad_(False)

    def tables(self) -> list[Tensor]:
        return [codebook() for codebook in self.codebooks]

    @torch.no_grad()
    def store_tables(self) -> None:
        """Put the projected codebooks into the codec, which then needs no language model."""
        for layer, table in zip(self.codec.quantizer.layers, self.tables(), strict=True):
            assert isinstance(layer, QuantizerLayer)
            layer.table.copy_(table)

    def forward(self, batch: Batch, prelude: bool = False) -> tuple[dict[str, Tensor], list[Tensor], Tensor | None]:
        """-> losses by name (unweighted scalars), the codes in use per layer (valid ones, flat), the decoded wave.

        In the prelude only the semantic layer is computed, and only what its teachers say of it. While words are held
        their teachers say nothing.
        """
        if prelude:
            encoder = self.codec.encoder
            assert isinstance(encoder, SpectralEncoder) and encoder.listener is not None
            context = encoder.listener(batch.wave, batch.mask)
            table = self.codebooks[0]()
            _, output = self.codec.quantizer.layers[0](None, context, batch.mask, table)
            return self._taught(batch, output, table), [self._used(output)], None
        tables = self.tables()
        guide = self.on_wave.guide(batch.target)
        decoded, outputs = self.codec(batch.wave, batch.mask, tables, guide)
        found = {} if self.words_held else self._taught(batch, outputs[0], tables[0])
        found |= self.on_wave(decoded, batch.target, guide)
        free = [
            output for output, layer in zip(outputs, self.codec.config.layers, strict=True) if not layer.from_context
        ]
        found["commitment"] = torch.stack([losses.commitment_loss(output) for output in free]).mean()
        found["codebook"] = torch.stack([losses.codebook_loss(output) for output in free]).mean()
        found["entropy"] = torch.stack(
            [
                losses.entropy_loss(output, table, ENTROPY_POSITIONS)
                for output, table in list(zip(outputs, tables, strict=True))[self.words_held :]
            ]
        ).mean()
        if self.weights.consistency:
            semantic, coarse = outputs[0], outputs[min(1, len(outputs) - 1)]
            rows = batch.rows.shape[1]
            predicted = self.semantic_to_features(semantic.straight_through)
            predicted = predicted.repeat_interleave(rows // semantic.codes.shape[1], dim=1)
            predicted = predicted + self.coarse_to_features(coarse.vectors.unflatten(1, (rows, -1)).mean(2))
            mask = batch.mask[:, :: batch.mask.shape[1] // rows]
            features = self._space().standardised(batch.rows)
            found["consistency"] = losses.consistency_loss(predicted, features, mask)
        return found, [self._used(output) for output in outputs], decoded.wave

    def _taught(self, batch: Batch, semantic: LayerOutput, table: Tensor) -> dict[str, Tensor]:
        """The losses between the semantic layer and its teachers."""
        found = {}
        if self.weights.distillation:
            pool = batch.rows.shape[1] // semantic.codes.shape[1]
            target = self._space().target(batch.rows, pool, self.context_weight)
            found["distillation"] = losses.distillation_loss(semantic, target, table)
        if self.weights.semantic:
            mean = (semantic.straight_through * semantic.mask).sum(1) / semantic.mask.sum(1).clamp(min=1)
            found["semantic"] = losses.semantic_loss(self.semantic_to_text(mean), batch.texts, batch.has_text)
        return found

    def _space(self) -> TeacherSpace:
        return TeacherSpace(self.space_mean, self.space_scale, self.space_basis)

    @staticmethod
    def _used(output: LayerOutput) -> Tensor:
        return output.codes[output.mask[..., 0] > 0]
