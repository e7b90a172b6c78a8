"""Whisper as a judge of speech: English transcripts of what a codec made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from llmcodec.errors import ModelError, first_line
from llmcodec.llm.cached import cache_name
from llmcodec.models import locate, quiet_loading

MAX_SECONDS = 30.0
_MAX_TOKENS = 220
# Whisper's own decoding (Radford et al. 2023, section 4.5): greedy, then warmer and warmer while the text repeats
# itself (tokens that compress more than so) or was improbable (mean log probability).
_FALLBACK = {
    "temperature": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
    "compression_ratio_threshold": 1.35,
    "logprob_threshold": -1.0,
}


class WhisperJudge:
    """Transcribe English speech with any multilingual Whisper, without timestamps.

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
        start, english, transcribe, plain, end = [known[f"<|{name}|>"] for name in names]
        self._head, self._end = [start, english, transcribe, plain], end
        settings = {  # a folder's generation_config.json may lack what the hub's has
            "is_multilingual": True, "lang_to_id": {"<|en|>": english}, "task_to_id": {"transcribe": transcribe},
            "decoder_start_token_id": start, "no_timestamps_token_id": plain, "eos_token_id": end, "pad_token_id": end,
            "begin_suppress_tokens": [*self.tokenizer.encode(" ", add_special_tokens=False), end],
            "suppress_tokens": list(range(end + 1, self.model.config.vocab_size)),  # languages, tasks, timestamps
            "max_length": 4 + _MAX_TOKENS,  # behind start, language, task and notimestamps
        }  # fmt: skip
        for name, value in settings.items():
            setattr(self.model.generation_config, name, value)

    @torch.inference_mode()
    def transcribe(self, waves: Sequence[Tensor], fallback: bool = True, seed: int = 0) -> list[str]:
        """Waveforms float32 [T_i] at `sample_rate`, 30 s at most -> texts. The batch is decoded together.

        fallback: decode a clip anew by sampling (seeded) where the greedy text repeats itself or was improbable, as
        Whisper's authors do; else every text is the greedy one.
        """
        longest = max(len(wave) for wave in waves) / self.sample_rate
        if longest > MAX_SECONDS:
            raise ModelError(f"the speech recogniser takes {MAX_SECONDS:.0f} s at most, not {longest:.1f} s")
        heard = self.extractor(
            [wave.numpy() for wave in waves], sampling_rate=self.sample_rate, return_tensors="pt",
            return_attention_mask=True,
        ).to(self.device)  # fmt: skip
        with torch.random.fork_rng(devices=[] if self.device == "cpu" else None):
            torch.manual_seed(seed)
            rows = self.model.generate(**heard, language="en", task="transcribe", **(_FALLBACK if fallback else {}))
        return [str(text).strip() for text in self.tokenizer.batch_decode(rows, skip_special_tokens=True)]

    @torch.inference_mode()
    def choose(self, waves: Sequence[Tensor], texts: Sequence[str]) -> tuple[list[str], list[str]]:
        """Waveforms as for `transcribe` -> which of `texts` each most likely says, and its greedy transcript.

        A text's likelihood is that of its tokens, written small and large, to the end of the transcript, the likelier
        of the two.
        """
        from transformers.modeling_outputs import BaseModelOutput

        written = [(number, form) for number, text in enumerate(texts) for form in (text.lower(), text.capitalize())]
        rows = [self.tokenizer.encode(" " + form, add_special_tokens=False) + [self._end] for _, form in written]
        longest = max(map(len, rows))
        tokens = torch.tensor([row + [self._end] * (longest - len(row)) for row in rows], device=self.device)
        mask = torch.tensor([[1.0] * len(row) + [0.0] * (longest - len(row)) for row in rows])
        chosen, heard = [], []
        for wave in waves:
            inputs = self.extractor([wave.numpy()], sampling_rate=self.sample_rate, return_tensors="pt").to(self.device)
            encoded = self.model.model.encoder(inputs["input_features"])[0]
            each = self._behind_head(encoded, tokens).gather(-1, tokens[..., None])[..., 0].cpu()
            chosen.append(texts[written[int((each * mask).sum(1).argmax())][0]])
            ids = self.model.generate(
                encoder_outputs=BaseModelOutput(encoded), language="en", task="transcribe",
                attention_mask=torch.ones(1, encoded.shape[1], device=self.device), max_length=len(self._head) + 24,
            )  # fmt: skip
            heard.append(str(self.tokenizer.decode(ids[0], skip_special_tokens=True)).strip())
        return chosen, heard

    def _behind_head(self, encoded: Tensor, tokens: Tensor) -> Tensor:
        """Encoded sound [1, n, dim] and texts [R, t] behind the head -> log-probabilities [R, t, V] of their tokens.

        What the decoder looks at in the sound is computed once for all texts.
        """
        from transformers import DynamicCache, EncoderDecoderCache
        from transformers.modeling_outputs import BaseModelOutput

        kept: Any = {cache_name(self.model): EncoderDecoderCache(DynamicCache(), DynamicCache()), "use_cache": True}
        head = torch.tensor([self._head], device=self.device)
        first = self.model(encoder_outputs=BaseModelOutput(encoded), decoder_input_ids=head, **kept).logits[:, -1:]
        kept[cache_name(self.model)].batch_repeat_interleave(len(tokens))
        sound = BaseModelOutput(encoded.expand(len(tokens), -1, -1))
        rest = self.model(encoder_outputs=sound, decoder_input_ids=tokens[:, :-1], **kept).logits
        return torch.cat([first.expand(len(tokens), -1, -1), rest], dim=1).float().log_softmax(-1)
