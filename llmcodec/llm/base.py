"""What a frozen language model promises: token ids in, log-probabilities or further ids out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from torch import Tensor

from llmcodec.errors import PromptError

if TYPE_CHECKING:
    from llmcodec.llm.decoding import Generation, Request, Sampling, Schedule


@dataclass(frozen=True, eq=False)
class Prefix:
    """A prefix that a model has run once and can score any number of continuations after.

    Only the model that prepared it can use it, and scoring does not change it.
    """

    ids: tuple[int, ...]  # as run: an empty prefix is here as the model's start token
    next_logprobs: Tensor = field(repr=False)  # float32 [V], natural log, of the token behind the prefix
    state: Any = field(repr=False)  # the backend's own: keys and values, or counts

    def __len__(self) -> int:
        return len(self.ids)


@runtime_checkable
class FrozenLLM(Protocol):
    """A language model that is never trained. Log-probabilities are natural logarithms, float32, on the CPU.

    An empty prefix stands for bos (or, in models without one, their end-of-text token), so that every token has a
    probability. Nothing else is added to the ids that come in. Every method that takes ids raises PromptError for an id
    outside the vocabulary and for prefix + continuation longer than `max_context`.
    """

    name: str
    max_context: int  # tokens, prefix and continuation together
    bos_id: int | None

    def tokenize(self, text: str) -> list[int]:
        """Text -> ids of exactly that text: no special tokens and no space are added."""
        ...

    def word_id(self, word: str) -> int:
        """The id of the one token that is a space and `word`. ModelError if there is no such token."""
        ...

    def words(self) -> dict[str, int]:
        """Every printable word-start token, without its space, and its id; no special and no byte tokens."""
        ...

    def prepare(self, prefixes: Sequence[Sequence[int]]) -> list[Prefix]:
        """Run each prefix once, in batches, and keep what scoring needs."""
        ...

    def extend(self, pairs: Sequence[tuple[Prefix, Sequence[int]]]) -> list[Prefix]:
        """Each prefix with ids behind it, as `prepare` gives the whole; only the ids are run, in batches."""
        ...

    def log_likelihood(self, pairs: Sequence[tuple[Prefix, Sequence[int]]]) -> list[Tensor]:
        """Log-probability of each token of each continuation, given its prefix and the tokens before it.

        Returns float32 [len(c)] for each pair (prefix, c), in the order given; an empty c gives [0]. Prefixes that were
        prepared together are scored together.
        """
        ...

    def expected(self, pairs: Sequence[tuple[Prefix, Sequence[int]]], ids: Sequence[int]) -> Tensor:
        """What the model expects while it reads each continuation behind its prefix.

        The probabilities of `ids`, taken to be all that may come, averaged over the places before, between and behind
        the tokens of the continuation: float32 [N, len(ids)], rows add up to 1.
        """
        ...

    def next_token_logprobs(self, prefixes: Sequence[Sequence[int]]) -> Tensor:
        """Log-probabilities of the token behind each prefix: float32 [N, V]."""
        ...

    def generate(self, requests: Sequence[Request], sampling: Sampling = ...) -> list[list[Generation]]:
        """Continue each prefix by ids that its schedule allows, in batches; default: greedily.

        Returns `sampling.candidates` generations for each request, best first if they come from beams (fewer, where
        the schedule allows no more). The prefixes stay as they are; a batch of n equals n singles.
        """
        ...

    def stream(self, prefix: Prefix, schedule: Schedule, sampling: Sampling = ...) -> Iterator[tuple[int, float]]:
        """The ids of the one generation, and their log-probabilities, each as soon as it is known."""
        ...


def checked_ids(ids: Iterable[int], vocab_size: int, name: str) -> list[int]:
    """The ids as ints. PromptError for the first that the model does not have."""
    plain = [int(i) for i in ids]
    for i in plain:
        if not 0 <= i < vocab_size:
            raise PromptError(f"token id {i} is not in the vocabulary of {name}, whose ids are 0 to {vocab_size - 1}")
    return plain


def check_fits(prefix: int, continuation: int, max_context: int, name: str) -> None:
    """PromptError when `prefix` + `continuation` tokens are more than the context holds."""
    total = prefix + continuation
    if total > max_context:
        raise PromptError(
            f"a prompt of {total} tokens ({prefix} prefix, {continuation} continuation) does not fit the context of "
            f"{name}, {max_context} tokens; shorten it by {total - max_context}"
        )
