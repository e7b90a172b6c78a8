"""Whisper as a judge of speech: greedy English transcripts of what a codec made."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from llmcodec.errors import ModelError, first_line
from llmcodec.models import locate, quiet_loading

MAX_SECONDS = 30.0
_MAX_TOKENS = 220


class WhisperJudge:
    """Transcribe English speech with any multilingual Whisper, greedily and without timestamps.

    name_or_path: folder, hub id, or a name below $LLMCODEC_MODELS. ModelError if it cannot be loaded.
    """

    def __init__(self, name_or_path: str = "openai/whisper-base", device: str = "cpu") -> None:
        from transformers import AutoTokenizer, WhisperFeatureExtractor, WhisperForConditionalGeneration

        folder = locate(name_or_path)
        try:
            with quiet_loading():
                model = WhisperForConditionalGeneration.from_pretrained(folder)
            self.model = model.eval().requires_grad_(False).to(device)
            self.extractor = WhisperFeatureExtractor.from_pretrained(folder)
            self.tokenizer = AutoTokenizer.from_pretrained(folder)
        except (OSError, ValueError) as error:
            raise ModelError(f"cannot load the speech recogniser {name_or_path!r}: {first_line(error)}") from error
        self.device = device
        self.sample_rate = int(self.extractor.sampling_rate)
        names = ("startoftranscript", "en", "transcribe", "notimestamps", "endoftext")
        known = self.tokenizer.get_vocab()
        missing = [name for name in names if f"<|{name}|>" not in known]
        if missing:
            raise ModelError(f"{name_or_path}: its tokenizer lacks <|{missing[0]}|>; a multilingual Whisper is needed")
        *self.prompt, self.end = [known[f"<|{name}|>"] for name in names]
        self.blank = self.tokenizer.encode(" ", add_special_tokens=False)

    @torch.inference_mode()
    def transcribe(self, waves: Sequence[Tensor]) -> list[str]:
        """Waveforms float32 [T_i] at `sample_rate`, 30 s at most -> texts. The batch is decoded together."""
        longest = max(len(wave) for wave in waves) / self.sample_rate
        if longest > MAX_SECONDS:
            raise ModelError(f"the speech recogniser takes {MAX_SECONDS:.0f} s at most, not {longest:.1f} s")
        mels = self.extractor(
            [wave.numpy() for wave in waves], sampling_rate=self.sample_rate, return_tensors="pt"
        ).input_features.to(self.device)
        heard = self.model.model.encoder(mels)
        tokens = torch.tensor([self.prompt] * len(waves), device=self.device)
        done = torch.zeros(len(waves), dtype=torch.bool, device=self.device)
        written: list[Tensor] = []
        cache = None
        while len(written) < _MAX_TOKENS and not done.all():
            output = self.model(
                encoder_outputs=heard, decoder_input_ids=tokens, past_key_values=cache, use_cache=True
            )  # the first pass reads the prompt, later ones a token each
            cache = output.past_key_values
            logits = output.logits[:, -1].float()
            logits[:, self.end + 1 :] = -torch.inf  # languages, tasks, timestamps
            if not written:
                logits[:, [*self.blank, self.end]] = -torch.inf
            following = logits.argmax(-1).masked_fill(done, self.end)
            done |= following == self.end
            written.append(following)
            tokens = following[:, None]
        rows = torch.stack(written, 1).tolist()
        return [
            str(self.tokenizer.decode([token for token in row if token != self.end], skip_special_tokens=True)).strip()
            for row in rows
        ]
