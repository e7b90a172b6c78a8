"""A tiny deterministic language model for tests: no weights, no download."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from llmcodec.errors import ModelError
from llmcodec.llm.base import Prefix, check_fits, checked_ids
from llmcodec.llm.decoding import (
    GREEDY,
    Generation,
    Request,
    Sampling,
    Schedule,
    Search,
    check_stream,
    checked_requests,
    searched,
    streamed,
)
from llmcodec.vocabulary import Vocabulary

_BOS = 256  # behind the 256 byte tokens
_DECAY = 0.995  # how fast a seen token is forgotten, per token
_SEEN = 0.05  # weight of a token seen once, where all base rates sum to 1
_FOLLOWED = 0.5  # weight of a token that once came behind the token that is now last


@dataclass
class _State:
    """What was seen: decayed counts [V], and for each token the tokens that came behind it."""

    counts: Tensor
    followers: dict[int, list[int]] = field(default_factory=dict)
    last: int = -1  # -1: nothing was read


class FakeLLM:
    """A language model of seeded base rates, recency and repeated pairs: what the prefix holds becomes likelier.

    words: each is one token with a leading space (default: the portable list); any other text falls to byte tokens.
    """

    def __init__(self, words: Iterable[str] | None = None, max_context: int = 4096, seed: int = 0) -> None:
        self.name = "fake"
        self.max_context = max_context
        self.bos_id: int | None = _BOS
        listed = Vocabulary.portable().words if words is None else dict.fromkeys(words)
        self._words = {word: _BOS + 1 + i for i, word in enumerate(listed)}
        self.vocab_size = _BOS + 1 + len(self._words)
        rates = torch.rand(self.vocab_size, generator=torch.Generator().manual_seed(seed)) + 0.5
        self._base = rates / rates.sum()

    def tokenize(self, text: str) -> list[int]:
        """Listed words behind a space are one token each, all else is UTF-8 bytes."""
        ids: list[int] = []
        for piece in re.findall(r" ?\w+|\W", text):
            known = self._words.get(piece[1:]) if piece.startswith(" ") else None
            ids += piece.encode() if known is None else [known]
        return ids

    def word_id(self, word: str) -> int:
        """See FrozenLLM."""
        if word not in self._words:
            raise ModelError(f"{word!r} is not a single token of {self.name}")
        return self._words[word]

    def words(self) -> dict[str, int]:
        """See FrozenLLM."""
        return dict(self._words)

    def prepare(self, prefixes: Sequence[Sequence[int]]) -> list[Prefix]:
        """See FrozenLLM."""
        return [self._prepare(ids) for ids in prefixes]

    def extend(self, pairs: Sequence[tuple[Prefix, Sequence[int]]]) -> list[Prefix]:
        """See FrozenLLM."""
        return [self._prepare(ids, prefix) for prefix, ids in pairs]

    def log_likelihood(self, pairs: Sequence[tuple[Prefix, Sequence[int]]]) -> list[Tensor]:
        """See FrozenLLM."""
        results = []
        for prefix, continuation in pairs:
            ids = checked_ids(continuation, self.vocab_size, self.name)
            check_fits(len(prefix), len(ids), self.max_context, self.name)
            state = copy.deepcopy(prefix.state)
            scores = torch.zeros(len(ids))
            for position, token in enumerate(ids):
                scores[position] = self._next(state)[token]
                self._read(state, token)
            results.append(scores)
        return results

    def expected(self, pairs: Sequence[tuple[Prefix, Sequence[int]]], ids: Sequence[int]) -> Tensor:
        """See FrozenLLM."""
        chosen = checked_ids(ids, self.vocab_size, self.name)
        results = torch.zeros(len(pairs), len(chosen))
        for row, (prefix, continuation) in enumerate(pairs):
            tokens = checked_ids(continuation, self.vocab_size, self.name)
            check_fits(len(prefix), len(tokens), self.max_context, self.name)
            state = copy.deepcopy(prefix.state)
            results[row] = prefix.next_logprobs[chosen].softmax(0)
            for token in tokens:
                self._read(state, token)
                results[row] += self._next(state)[chosen].softmax(0)
            results[row] /= len(tokens) + 1
        return results

    def next_token_logprobs(self, prefixes: Sequence[Sequence[int]]) -> Tensor:
        """See FrozenLLM."""
        rows = [prefix.next_logprobs for prefix in self.prepare(prefixes)]
        return torch.stack(rows) if rows else torch.zeros(0, self.vocab_size)

    def generate(self, requests: Sequence[Request], sampling: Sampling = GREEDY) -> list[list[Generation]]:
        """See FrozenLLM."""
        checked_requests(requests, self.max_context, self.vocab_size, self.name)
        each = 1 if sampling.beams > 1 else sampling.candidates
        results: list[list[Generation]] = []
        for request in requests:
            found: list[Generation] = []
            for candidate in range(each):
                *_, last = self._search(request, sampling, candidate)
                found += last.results(0, sampling.candidates // each)
            results.append(found)
        return results

    def stream(self, prefix: Prefix, schedule: Schedule, sampling: Sampling = GREEDY) -> Iterator[tuple[int, float]]:
        """See FrozenLLM."""
        check_stream(sampling)
        checked_requests([(prefix, schedule)], self.max_context, self.vocab_size, self.name)
        yield from streamed(self._search((prefix, schedule), sampling, 0))

    def _search(self, request: Request, sampling: Sampling, candidate: int) -> Iterator[Search]:
        prefix, schedule = request
        search = Search([schedule], [sampling.seed + candidate], sampling)
        first = prefix.next_logprobs.expand(sampling.beams, -1)
        return searched(_Rows(self, [prefix.state] * sampling.beams), first, search)

    def _prepare(self, prefix_ids: Sequence[int], behind: Prefix | None = None) -> Prefix:
        ids = checked_ids(prefix_ids, self.vocab_size, self.name) or ([] if behind else [_BOS])
        before = behind.ids if behind else ()
        check_fits(len(before), len(ids), self.max_context, self.name)
        state = copy.deepcopy(behind.state) if behind else _State(torch.zeros(self.vocab_size))
        for token in ids:
            self._read(state, token)
        return Prefix((*before, *ids), self._next(state), state)

    def _read(self, state: _State, token: int) -> None:
        state.counts *= _DECAY
        state.counts[token] += 1
        state.followers.setdefault(state.last, []).append(token)
        state.last = token

    def _next(self, state: _State) -> Tensor:
        weights = self._base + _SEEN * state.counts
        for token in state.followers.get(state.last, ()):
            weights[token] += _FOLLOWED
        return (weights / weights.sum()).log()


class _Rows:
    """States read on token by token; meets Continuation."""

    def __init__(self, llm: FakeLLM, states: Sequence[_State]) -> None:
        self._llm, self._states = llm, states

    def advance(self, parents: Tensor, tokens: Tensor) -> Tensor:
        """See Continuation."""
        self._states = [copy.deepcopy(self._states[parent]) for parent in parents.tolist()]
        return torch.stack([self._behind(*pair) for pair in zip(self._states, tokens.tolist(), strict=True)])

    def _behind(self, state: _State, tokens: Sequence[int]) -> Tensor:
        rows = []
        for token in tokens:
            self._llm._read(state, token)
            rows.append(self._llm._next(state))
        return torch.stack(rows)
