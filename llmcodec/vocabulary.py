"""Words of a language model: the entries of the codec's codebooks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import TYPE_CHECKING

from llmcodec.errors import ModelError

if TYPE_CHECKING:
    from llmcodec.llm import FrozenLLM


@dataclass(frozen=True)
class Vocabulary:
    """Distinct words in a fixed order; the code of a word is its position.

    A word is plain text without the leading space that makes it one token of a language model. The same vocabulary
    serves every model in which each of its words is one token: `token_ids` looks them up by name.
    """

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.words:
            raise ModelError("a vocabulary needs at least one word")
        if len(set(self.words)) != len(self.words):
            twice = sorted({word for word in self.words if self.words.count(word) > 1})
            raise ModelError(f"a vocabulary's words must differ; twice: {', '.join(twice[:5])}")

    @classmethod
    def portable(cls) -> Vocabulary:
        """Words that are one token in LLaMA-2, SmolLM2, Qwen2.5 and Gemma alike, frequent ones first."""
        return cls(_read_list("portable_words.txt"))

    @classmethod
    def whole_words(cls) -> Vocabulary:
        """The portable words that a dictionary lists: no word pieces, no names, four letters or longer."""
        return cls(_read_list("whole_words.txt"))

    @classmethod
    def from_llm(cls, llm: FrozenLLM) -> Vocabulary:
        """Every word-start token of one model, by id; special and byte tokens are left out."""
        return cls(tuple(word for word, _ in sorted(llm.words().items(), key=lambda item: item[1])))

    def __len__(self) -> int:
        return len(self.words)

    def __iter__(self) -> Iterator[str]:
        return iter(self.words)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {word: code for code, word in enumerate(self.words)}

    def codes(self, words: Iterable[str]) -> list[int]:
        """Words -> codes. ModelError names the first word that is not in the vocabulary."""
        try:
            return [self._index[word] for word in words]
        except KeyError as error:
            raise ModelError(f"{error.args[0]!r} is not one of the codec's {len(self)} words") from None

    def token_ids(self, llm: FrozenLLM) -> list[int]:
        """The model's token id of every word, in code order. ModelError names words that are not single tokens."""
        known = llm.words()
        missing = [word for word in self.words if word not in known]
        if missing:
            shown = ", ".join(missing[:5])
            raise ModelError(
                f"{len(missing)} of the codec's {len(self)} words are not single tokens of {llm.name} ({shown}); "
                "use a model that shares the portable words, or a codec trained for this one"
            )
        return [known[word] for word in self.words]


def _read_list(name: str) -> tuple[str, ...]:
    return tuple((files("llmcodec") / "data" / name).read_text(encoding="utf-8").split())
