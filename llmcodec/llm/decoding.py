"""Constrained generation: which ids may come at each step, how one is chosen, and the search of all backends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from llmcodec.errors import ConfigError, PromptError
from llmcodec.llm.base import Prefix, check_fits, checked_ids


@dataclass(frozen=True)
class Schedule:
    """What a generation may consist of: at step t one of the ids `tables[steps[t]]`, for len(steps) steps.

    runs: stretches of steps whose ids belong together, by their first step: one of those sequences, all equally long,
    has to come there as a whole.
    """

    tables: tuple[tuple[int, ...], ...] = field(repr=False)
    steps: tuple[int, ...]
    runs: Mapping[int, tuple[tuple[int, ...], ...]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.steps)

    def allowed(self, past: Sequence[int]) -> tuple[int, ...]:
        """The ids that may follow those generated so far."""
        start = max((start for start in self.runs if start <= len(past)), default=None)
        if start is None or len(past) - start >= len(self.runs[start][0]):
            return self.tables[self.steps[len(past)]]
        begun = tuple(past[start:])
        return tuple(dict.fromkeys(one[len(begun)] for one in self.runs[start] if one[: len(begun)] == begun))

    def forced(self, past: Sequence[int]) -> list[int]:
        """The ids that follow those generated so far, up to where there is a choice."""
        found: list[int] = []
        while len(past) + len(found) < len(self):
            allowed = self.allowed([*past, *found])
            if len(allowed) > 1:
                break
            found.append(allowed[0])
        return found


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen among those a schedule allows. ConfigError names a field that is out of its range.

    temperature: 0 takes the likeliest. top_p: the likeliest ids that together have this probability.
    beams: how many continuations a beam search keeps; with more than one, temperature must be 0.
    repetition_penalty: 1 is none; above, ids that were generated already become less likely (Keskar et al. 2019).
    candidates: how many continuations are returned: samples that differ in their seed, or the best of the beams.
    seed: of the samples; candidate c of a request is the same in every batch.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    beams: int = 1
    repetition_penalty: float = 1.0
    candidates: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        limits = {
            "temperature": (self.temperature == 0 or self.temperature >= 0.01, "0, or 0.01 or more"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1"),
            "beams": (self.beams >= 1, "1 or more"),
            "repetition_penalty": (self.repetition_penalty > 0, "above 0"),
            "candidates": (self.candidates >= 1, "1 or more"),
            "seed": (self.seed >= 0, "0 or more"),
        }
        for name, (fits, wanted) in limits.items():
            if not fits:
                raise ConfigError(f"{name}: {getattr(self, name)} must be {wanted}")
        if self.beams > 1 and self.temperature:
            raise ConfigError(f"temperature: {self.temperature} must be 0 with {self.beams} beams")
        if self.beams > 1 and self.candidates > self.beams:
            raise ConfigError(f"candidates: {self.candidates} must be at most the {self.beams} beams")
        if self.beams == 1 and self.candidates > 1 and not self.temperature:
            raise ConfigError(f"candidates: {self.candidates} need a temperature above 0, or as many beams")


GREEDY = Sampling()
WARM = 0.8  # temperature, where several candidates need one and none is given


def best_of(candidates: int, seed: int = 0, temperature: float | None = None) -> Sampling:
    """So many samples to choose from; without a temperature, one is greedy and several are warm."""
    usual = WARM if candidates > 1 else 0.0
    return Sampling(temperature=usual if temperature is None else temperature, candidates=candidates, seed=seed)


@dataclass(frozen=True, eq=False)
class Generation:
    """ids that follow a schedule, and the log-probability float32 [len(ids)] that the model gave each: as
    `log_likelihood` has it, among all ids of the vocabulary."""

    ids: tuple[int, ...]
    logprobs: Tensor = field(repr=False)


Request = tuple[Prefix, Schedule]


class Continuation(Protocol):
    """Rows that a model reads on, each behind its own prefix."""

    def advance(self, parents: Tensor, tokens: Tensor) -> Tensor:
        """Row r becomes row parents[r] with tokens[r] behind it, long [R] and [R, n] -> float32 [R, n, V]
        log-probabilities of what follows each of them."""
        ...


class ScheduleProcessor(LogitsProcessor):
    """Leaves each row the ids that its schedule allows at this step; all others get -inf. A row whose schedule has
    ended is left alone. `start`: how many of the input ids stand before the generation; serves `generate` of
    transformers as well (with max_new_tokens of the schedule's length)."""

    def __init__(self, schedules: Sequence[Schedule], start: int = 0) -> None:
        self.schedules, self.start = schedules, start
        self._tables: dict[tuple[int, ...], Tensor] = {}

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """input_ids [R, start + t], scores [R, V] -> [R, V]; rows of one schedule stand together."""
        step, repeats = input_ids.shape[1] - self.start, len(scores) // len(self.schedules)
        allowed = torch.full_like(scores, -torch.inf)
        for row in range(len(scores)):
            schedule = self.schedules[row // repeats]
            if step < len(schedule):
                table = schedule.allowed(input_ids[row, self.start :].tolist())
                if table not in self._tables:
                    self._tables[table] = torch.tensor(table, dtype=torch.long, device=scores.device)
                ids = self._tables[table]
                allowed[row, ids] = scores[row, ids]
            else:
                allowed[row] = scores[row]
        return allowed


class SeededNoise(LogitsProcessor):
    """Gumbel noise, from a generator for each row: the likeliest id with it is a sample without it, and a row's sample
    does not depend on the batch. Where a row has no choice nothing is drawn: such a step may be left out."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        uniform = torch.ones(scores.shape)
        for row in (scores.isfinite().sum(1) > 1).nonzero()[:, 0].tolist():
            torch.rand(scores.shape[1], generator=self._generators[row], out=uniform[row])
        tiny = torch.finfo(torch.float32).tiny
        return scores - (-uniform.clamp(min=tiny).log()).clamp(min=tiny).log()


class Search:
    """Rows being continued: one for each unit (a candidate of a request), or `beams` for each."""

    def __init__(self, schedules: Sequence[Schedule], seeds: Sequence[int], sampling: Sampling) -> None:
        self.schedules, self.beams = schedules, sampling.beams
        self.length = max(map(len, schedules))
        rows = len(schedules) * self.beams
        self.tokens = torch.zeros(rows, 0, dtype=torch.long)
        self.logprobs = torch.zeros(rows, 0)
        self._totals = torch.full((len(schedules), self.beams), -torch.inf)
        self._totals[:, 0] = 0  # all beams begin alike: only the first counts
        self._filters = LogitsProcessorList([ScheduleProcessor(schedules)])
        if sampling.repetition_penalty != 1:
            self._filters.append(RepetitionPenaltyLogitsProcessor(float(sampling.repetition_penalty)))
        if sampling.temperature:
            self._filters.append(TemperatureLogitsWarper(float(sampling.temperature)))
            if sampling.top_p < 1:
                self._filters.append(TopPLogitsWarper(float(sampling.top_p)))
            self._filters.append(SeededNoise(seeds))

    @property
    def done(self) -> bool:
        return self.tokens.shape[1] == self.length

    def step(self, logprobs: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities [R, V] of the next token -> which row each row continues and with which token, long [R]."""
        vocabulary = logprobs.shape[1]
        scores = self._filters(self.tokens, logprobs)  # type: ignore[arg-type]
        if self.beams == 1:
            parents, tokens = torch.arange(len(scores)), scores.argmax(1)
        else:
            parents, tokens = self._best(scores.log_softmax(1), vocabulary)
        self.tokens, self.logprobs = self.tokens[parents], self.logprobs[parents]
        self.take(tokens[:, None], logprobs[parents, tokens][:, None])
        return parents, tokens

    def forced(self) -> Tensor:
        """Ids of the next steps, as far as no row has a choice there: long [R, n]; none where beams are compared."""
        none = self.tokens[:, :0]
        if self.beams > 1:
            return none
        rows = [
            schedule.forced(past) if len(past) < len(schedule) else None
            for schedule, past in zip(self.schedules, self.tokens.tolist(), strict=True)
        ]
        count = min((len(row) for row in rows if row is not None), default=0)
        if not count:
            return none
        return torch.tensor([[0] * count if row is None else row[:count] for row in rows])  # None: its schedule is over

    def take(self, tokens: Tensor, logprobs: Tensor) -> None:
        """Go on by tokens [R, n] of log-probabilities [R, n]."""
        self.tokens = torch.cat([self.tokens, tokens], 1)
        self.logprobs = torch.cat([self.logprobs, logprobs], 1)

    def _best(self, scores: Tensor, vocabulary: int) -> tuple[Tensor, Tensor]:
        """The likeliest continuations of each unit; a unit whose schedule has ended keeps its order."""
        units = len(self.schedules)
        totals, flat = (self._totals[..., None] + scores.view(units, self.beams, -1)).flatten(1).topk(self.beams)
        running = torch.tensor([self.tokens.shape[1] < len(schedule) for schedule in self.schedules])[:, None]
        places = torch.arange(self.beams).expand(units, -1)
        self._totals = torch.where(running, totals, self._totals)
        parents = torch.where(running, flat // vocabulary, places)
        return (parents + self.beams * torch.arange(units)[:, None]).flatten(), (flat % vocabulary).flatten()

    def results(self, unit: int, count: int) -> list[Generation]:
        """The `count` best rows of a unit, best first, as long as its schedule."""
        length, first = len(self.schedules[unit]), unit * self.beams
        alive = min(count, int(self._totals[unit].isfinite().sum()))
        return [
            Generation(tuple(self.tokens[row, :length].tolist()), self.logprobs[row, :length].clone())
            for row in range(first, first + alive)
        ]


def searched(continuation: Continuation, first: Tensor, search: Search) -> Iterator[Search]:
    """The search after each of its steps, those without a choice together with the one before, for they are read in one
    pass. first: float32 [R, V], what follows each row's prefix."""
    logprobs = first
    while not search.done:
        parents, tokens = search.step(logprobs)
        forced = search.forced()
        read = torch.cat([tokens[:, None], forced], 1)
        if search.tokens.shape[1] + forced.shape[1] == search.length:
            read = read[:, :-1]  # nobody asks what follows the end
        if read.shape[1]:
            behind = continuation.advance(parents, read)
            search.take(forced, behind[:, : forced.shape[1]].gather(2, forced[..., None])[..., 0])
            logprobs = behind[:, -1]
        yield search


def streamed(searches: Iterable[Search]) -> Iterator[tuple[int, float]]:
    """The tokens of a search of one row, each with its log-probability, as they become known."""
    known = 0
    for search in searches:
        yield from zip(search.tokens[0, known:].tolist(), search.logprobs[0, known:].tolist(), strict=True)
        known = search.tokens.shape[1]


def checked_requests(requests: Sequence[Request], max_context: int, vocab_size: int, name: str) -> None:
    """PromptError for a schedule that is empty, has no ids at a step, or does not fit behind its prefix."""
    seen: set[tuple[int, ...]] = set()
    for prefix, schedule in requests:
        check_fits(len(prefix), len(schedule), max_context, name)
        if not len(schedule):
            raise PromptError("a schedule without steps generates nothing; it needs one or more")
        for table in schedule.tables:
            if table not in seen:
                checked_ids(table, vocab_size, name)
                seen.add(table)
        if any(not schedule.tables[step] for step in set(schedule.steps)):
            raise PromptError("a schedule allows no id at one of its steps")


def check_stream(sampling: Sampling) -> None:
    if sampling.beams > 1 or sampling.candidates > 1:
        raise ConfigError("beams, candidates: a stream is of one continuation; both must be 1")
