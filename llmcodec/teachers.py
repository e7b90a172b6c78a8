"""Frozen models that the codec learns from: Whisper for sound, a text encoder for captions and transcripts.

Both are needed for training only, and each is any folder or hub id of its kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from llmcodec.errors import ModelError, first_line
from llmcodec.models import quiet_loading

WHISPER_RATE = 50.0  # encoder frames a second
WHISPER_SECONDS = 30.0  # what its position embedding can hold
SAMPLES = 320  # an encoder frame


class AudioTeacher:
    """The hidden states of one Whisper encoder layer.

    The waveform is not padded to Whisper's 30 s, so a clip costs what its length costs; positions count from its start.
    """

    def __init__(self, name_or_path: str, layer: int, device: str = "cpu") -> None:
        from transformers import WhisperFeatureExtractor, WhisperModel

        try:
            with quiet_loading():
                encoder = WhisperModel.from_pretrained(name_or_path).encoder
            self.extractor = WhisperFeatureExtractor.from_pretrained(name_or_path)
        except (OSError, ValueError) as error:
            raise ModelError(f"cannot load the audio teacher {name_or_path!r}: {first_line(error)}") from error
        if not 1 <= layer <= len(encoder.layers):
            raise ModelError(f"audio teacher layer {layer}: {name_or_path} has layers 1 to {len(encoder.layers)}")
        encoder.layers = encoder.layers[:layer]
        self.encoder = encoder.eval().requires_grad_(False).to(device)
        self.dim = int(encoder.config.d_model)
        self.sample_rate = int(self.extractor.sampling_rate)
        self._filters = torch.as_tensor(self.extractor.mel_filters.T, dtype=torch.float32).to(device)

    @torch.inference_mode()
    def features(self, waves: Sequence[Tensor]) -> list[Tensor]:
        """Waveforms float32 [T_i] at 16 kHz, 30 s at most -> features float32 [ceil(T_i / 320), dim] at 50 Hz."""
        counts = torch.tensor([-(-len(wave) // SAMPLES) for wave in waves])
        padded = torch.stack(
            [nn.functional.pad(wave, (0, SAMPLES * int(counts.max()) - len(wave))) for wave in waves]
        )  # fmt: skip
        hidden = self.hear(padded.to(self.encoder.conv1.weight.device), counts)
        return [row[:count].float().cpu() for row, count in zip(hidden, counts.tolist(), strict=True)]

    def hear(self, waves: Tensor, counts: Tensor | None = None) -> Tensor:
        """Waveforms [B, 320 n] -> features [B, n, dim], with a gradient.

        counts: long [B], of the n frames how many each clip has; None: all. ModelError above 30 s.
        """
        if self.encoder.conv1.weight.device != waves.device:
            self.encoder.to(waves.device)
            self._filters = self._filters.to(waves.device)
        hidden = nn.functional.gelu(self.encoder.conv1(self._log_mel(waves)))
        hidden = nn.functional.gelu(self.encoder.conv2(hidden)).transpose(1, 2)
        length = hidden.shape[1]
        if length > self.encoder.embed_positions.weight.shape[0]:
            raise ModelError(f"the audio teacher takes {WHISPER_SECONDS:.0f} s, not {length / WHISPER_RATE:.1f} s")
        hidden = hidden + self.encoder.embed_positions.weight[:length]
        mask = None
        if counts is not None:
            padding = torch.arange(length)[None] >= counts[:, None]
            mask = torch.zeros(padding.shape).masked_fill_(padding, -torch.inf)[:, None, None].to(hidden.device)
        for layer in self.encoder.layers:
            output: Any = layer(hidden, mask)
            hidden = output[0] if isinstance(output, tuple) else output
        return hidden

    def _log_mel(self, waves: Tensor) -> Tensor:
        """Waveforms [B, 320 n] -> what Whisper's feature extractor makes of them [B, mels, 2 n]."""
        extractor = self.extractor
        window = torch.hann_window(extractor.n_fft, device=waves.device)
        spectrum = torch.stft(waves, extractor.n_fft, extractor.hop_length, window=window, return_complex=True)
        power = spectrum[..., :-1].real.square() + spectrum[..., :-1].imag.square()
        mel = (self._filters @ power).clamp(min=1e-10).log10()
        return (torch.maximum(mel, mel.amax((1, 2), keepdim=True) - 8) + 4) / 4


class TextTeacher:
    """Sentence embeddings: a sentence-transformers model, or the mean of a T5 (or BERT-like) encoder's states."""

    def __init__(self, name_or_path: str, device: str = "cpu") -> None:
        self.device = device
        self.sentence_model: Any = None
        if (Path(name_or_path) / "modules.json").is_file() or name_or_path.startswith("sentence-transformers/"):
            try:
                from sentence_transformers import SentenceTransformer
            except ImportError as error:
                raise ModelError("sentence-transformers is missing: pip install llmcodec[train]") from error
            with quiet_loading():
                self.sentence_model = SentenceTransformer(name_or_path, device=device)
            return
        from transformers import AutoModelForTextEncoding, AutoTokenizer

        try:
            with quiet_loading():
                self.tokenizer = AutoTokenizer.from_pretrained(name_or_path)
                model = AutoModelForTextEncoding.from_pretrained(name_or_path)
            self.model = model.eval().requires_grad_(False).to(device)
        except (OSError, ValueError) as error:
            raise ModelError(f"cannot load the text teacher {name_or_path!r}: {first_line(error)}") from error

    @torch.inference_mode()
    def embed(self, texts: Sequence[str], batch_size: int = 64) -> Tensor:
        """Texts -> unit vectors float32 [N, dim]."""
        if self.sentence_model is not None:
            rows = self.sentence_model.encode(list(texts), batch_size=batch_size, show_progress_bar=False)
            return nn.functional.normalize(torch.as_tensor(rows, dtype=torch.float32), dim=-1)
        pooled = []
        for start in range(0, len(texts), batch_size):
            tokens = self.tokenizer(
                list(texts[start : start + batch_size]),
                padding=True,
                truncation=True,
                max_length=128,
                return_tensors="pt",
            ).to(self.device)
            states = self.model(**tokens).last_hidden_state.float()
            mask = tokens["attention_mask"][..., None]
            pooled.append(((states * mask).sum(1) / mask.sum(1)).cpu())
        return nn.functional.normalize(torch.cat(pooled), dim=-1)
