"""What all backends ask a tokenizer of transformers: exact texts, and which words are one token."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from llmcodec.errors import ModelError

_BYTE_LEVEL, _SENTENCEPIECE = "Ġ", "▁"  # how the two kinds of tokenizers write a leading space


class TextTokenizer:
    """A tokenizer of the model called `name`.

    start: the id that stands for an empty prefix: bos (the tokenizer's, else the model's), or else end of text.
    ModelError if there is none of them.
    """

    def __init__(self, tokenizer: Any, name: str, bos: int | None = None) -> None:
        self.tokenizer, self.name = tokenizer, name
        starts = (tokenizer.bos_token_id, bos, tokenizer.eos_token_id)
        start = next((int(i) for i in starts if i is not None), None)
        if start is None:
            raise ModelError(f"{name} has neither a bos nor an end-of-text token, so an empty prefix has no meaning")
        self.start = start
        # SentencePiece models such as LLaMA-2 put a space before any text; behind a line break they do not.
        first = tokenizer.convert_ids_to_tokens(self._encode("a")[:1])
        self._anchor = "\n" if first and first[0].startswith(_SENTENCEPIECE) else ""
        self._anchor_length = len(self._encode(self._anchor))

    def tokenize(self, text: str) -> list[int]:
        """See FrozenLLM."""
        return self._encode(self._anchor + text)[self._anchor_length :]

    def word_id(self, word: str) -> int:
        """See FrozenLLM."""
        if word not in self.words:
            raise ModelError(f"{word!r} is not a single token of {self.name}")
        return self.words[word]

    @cached_property
    def words(self) -> dict[str, int]:
        """See FrozenLLM."""
        vocabulary: dict[str, int] = self.tokenizer.get_vocab()
        reserved = {*self.tokenizer.all_special_ids, *self.tokenizer.added_tokens_decoder}
        marked = {
            marker: [(token, i) for token, i in vocabulary.items() if token.startswith(marker) and i not in reserved]
            for marker in (_BYTE_LEVEL, _SENTENCEPIECE)
        }
        marker = max(marked, key=lambda kind: len(marked[kind]))
        pairs = sorted(marked[marker], key=lambda pair: pair[1])
        if marker == _BYTE_LEVEL:  # characters stand for bytes
            texts = self.tokenizer.batch_decode([[i] for _, i in pairs], clean_up_tokenization_spaces=False)
        else:
            texts = [token.replace(_SENTENCEPIECE, " ") for token, _ in pairs]
        words = {text[1:]: i for text, (_, i) in zip(texts, pairs, strict=True) if text.startswith(" ")}
        # A replacement character is what incomplete UTF-8 decodes to.
        return {w: i for w, i in words.items() if w and w.isprintable() and " " not in w and "\ufffd" not in w}

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
