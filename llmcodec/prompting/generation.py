"""Prompts whose continuation is audio: templates with {input} and {words}, and the layout of words in time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from llmcodec.errors import ConfigError
from llmcodec.llm import FrozenLLM, Schedule
from llmcodec.prompting.builder import ClipCodes, Ids
from llmcodec.userfile import parse_yaml, read_yaml
from llmcodec.vocabulary import Vocabulary

INPUT, WORDS = "{input}", "{words}"
_PROMPTS = files("llmcodec") / "prompts" / "generation"
Text = Annotated[str, Field(min_length=1)]


class GenerationTemplate(BaseModel):
    """How a language model is asked for audio.

    input: "text" or "audio", what {input} stands for.
    instruction: text before the demonstrations. May be empty.
    demonstration: text with {input}, then {words}: the words of the audio to be learned. A query is the same text and
        ends where {words} begins.
    order: "layers" writes one layer of a clip after another; "interleaved" writes for each unit of time the words of
        all layers, so that audio can be decoded while words come.
    active_level: in dB of full scale, what the audio of demonstrations is brought to before it becomes words, see
        `llmcodec.audio.active_level`; none: it stays as it is.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Text
    description: Text
    input: Literal["text", "audio"]
    instruction: str = ""
    demonstration: str
    order: Literal["layers", "interleaved"]
    active_level: Annotated[float, Field(ge=-60, le=0)] | None = None

    @property
    def head(self) -> str:
        """Text of a demonstration before its input."""
        return self.demonstration.partition(INPUT)[0]

    @property
    def lead(self) -> str:
        """Text between input and words."""
        return self.demonstration.partition(INPUT)[2].partition(WORDS)[0]

    @property
    def tail(self) -> str:
        """Text behind the words."""
        return self.demonstration.partition(WORDS)[2]

    @field_validator("demonstration")
    @classmethod
    def _check_demonstration(cls, text: str) -> str:
        for placeholder in (INPUT, WORDS):
            if text.count(placeholder) != 1:
                raise ValueError(f"must hold {placeholder} once, has it {text.count(placeholder)} times")
        if text.index(INPUT) > text.index(WORDS):
            raise ValueError(f"{INPUT} must come before {WORDS}")
        return text

    @model_validator(mode="after")
    def _check_lead(self) -> GenerationTemplate:
        if not self.lead.strip():
            raise ValueError(f"demonstration: text is needed between {INPUT} and {WORDS}")
        return self


def generation_template_names() -> list[str]:
    """Names of the templates inside the package that generate audio, sorted."""
    return sorted(Path(entry.name).stem for entry in _PROMPTS.iterdir() if entry.name.endswith(".yaml"))


def load_generation_template(name_or_path: str | os.PathLike[str]) -> GenerationTemplate:
    """A template of the package by name, or any other by the path of its YAML file. ConfigError names the mistake."""
    named = str(name_or_path)
    if named in generation_template_names():
        return parse_yaml((_PROMPTS / f"{named}.yaml").read_text(encoding="utf-8"), f"{named}.yaml", GenerationTemplate)
    if Path(named).suffix not in (".yaml", ".yml"):
        known = ", ".join(generation_template_names())
        raise ConfigError(f"{named}: no such template; use {known} or the path of a .yaml file")
    return read_yaml(named, GenerationTemplate)


class GenerationBuilder:
    """Prompts of one template for one language model, and what may follow them.

    vocabularies, strides: those of the codec's layers, in its order. ModelError if a word is no single token of `llm`.
    """

    def __init__(
        self,
        template: GenerationTemplate,
        llm: FrozenLLM,
        vocabularies: Sequence[Vocabulary],
        strides: Sequence[int],
        frame_samples: int,
    ) -> None:
        self.template, self.llm, self.frame_samples = template, llm, frame_samples
        self.strides = tuple(strides)
        self.tables = tuple(tuple(vocabulary.token_ids(llm)) for vocabulary in vocabularies)
        self._codes = [{token: code for code, token in enumerate(table)} for table in self.tables]
        self._start = [] if llm.bos_id is None else [llm.bos_id]
        self._instruction, self._head = llm.tokenize(template.instruction), llm.tokenize(template.head)
        self._lead, self._tail = llm.tokenize(template.lead), llm.tokenize(template.tail)

    def order(self, samples: int) -> list[tuple[int, int]]:
        """(layer, place in that layer) of every word of a clip of so many samples, in the order of the prompt."""
        frames = -(-samples // self.frame_samples)
        places = [(layer, place) for layer, stride in enumerate(self.strides) for place in range(-(-frames // stride))]
        if self.template.order == "layers":
            return places
        return sorted(places, key=lambda entry: (self._unit(*entry), entry))

    def schedule(self, samples: int, shown: Sequence[ClipCodes] = (), window: int = 0) -> Schedule:
        """What may follow a query, for a clip of so many samples: any word of the layer whose turn it is; or, with
        clips that are `shown`, for each unit of time the words that one holds at the same share of its length, `window`
        units more or less. In the order "interleaved" all words of a unit come from one place of one clip, as those of
        one layer say what those of another left open."""
        order = self.order(samples)
        if not shown:
            return Schedule(self.tables, tuple(layer for layer, _ in order))
        rows = [[layer[0].tolist() for layer in codes.layers] for codes in shown]
        units: dict[int, list[tuple[int, int]]] = {}  # of the clip to come: what each consists of
        for layer, place in order:
            units.setdefault(self._unit(layer, place), []).append((layer, place))
        found: dict[tuple[int, int], tuple[int, ...]] = {}
        runs, start = {}, 0
        for unit, entries in units.items():
            held = sorted({row for clip in rows for row in self._near(clip, unit, len(units), window, entries)})
            found |= {entry: tuple(dict.fromkeys(ids)) for entry, *ids in zip(entries, *held, strict=True)}
            runs[start] = tuple(held)
            start += len(entries)
        tables = {table: number for number, table in enumerate(dict.fromkeys(found.values()))}
        steps = tuple(tables[found[entry]] for entry in order)
        return Schedule(tuple(tables), steps, runs if self.template.order == "interleaved" else {})

    def _unit(self, layer: int, place: int) -> int:
        """The unit of time, a word of the slowest layer long, in which a word lies."""
        return place * self.strides[layer] // max(self.strides)

    def _near(
        self, clip: Sequence[Sequence[int]], unit: int, units: int, window: int, entries: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[int, ...]]:
        """What a clip holds in place of the words `entries` of a unit, in the units about the same share of it."""
        own = 1 + max(self._unit(layer, len(row) - 1) for layer, row in enumerate(clip))
        middle = (2 * unit + 1) * own // (2 * units)
        for other in range(max(0, middle - window), min(own, middle + window + 1)):
            shift = [(other - unit) * max(self.strides) // stride for stride in self.strides]
            yield tuple(
                self.tables[layer][clip[layer][min(place + shift[layer], len(clip[layer]) - 1)]]
                for layer, place in entries
            )

    def word_ids(self, codes: ClipCodes, samples: int) -> Ids:
        """Token ids of one clip's words in the order of the prompt."""
        rows = [layer[0].tolist() for layer in codes.layers]
        return [self.tables[layer][rows[layer][place]] for layer, place in self.order(samples)]

    def layers(self, ids: Sequence[int], samples: int) -> tuple[torch.Tensor, ...]:
        """The reverse of `word_ids`: a long tensor [1, T_l] per layer."""
        rows: list[list[int]] = [[] for _ in self.strides]
        for token, (layer, _) in zip(ids, self.order(samples), strict=True):
            rows[layer].append(self.code(layer, token))
        return tuple(torch.tensor([row], dtype=torch.long) for row in rows)

    def code(self, layer: int, token: int) -> int:
        """The code whose word in that layer is that token."""
        return self._codes[layer][token]

    def input_ids(self, text: str) -> Ids:
        """Token ids of a text in place of {input}."""
        return self.llm.tokenize(text)

    def demonstration(self, given: Sequence[int], words: Sequence[int]) -> Ids:
        """Token ids of one demonstration; given: those of its input."""
        return [*self._head, *given, *self._lead, *words, *self._tail]

    def prefix(self, demonstrations: Sequence[Sequence[int]]) -> Ids:
        """The demonstrations as a prompt begins with them."""
        return [*self._start, *self._instruction, *chain.from_iterable(demonstrations)]

    def query(self, given: Sequence[int]) -> Ids:
        """What stands between the demonstrations and the words to come."""
        return [*self._head, *given, *self._lead]

    def fitting(self, demonstrations: Sequence[Sequence[int]], room: int) -> int:
        """How many demonstrations, from the last back, the context holds beside `room` other tokens."""
        left = self.llm.max_context - room - len(self.prefix([]))
        count = 0
        for block in reversed(demonstrations):
            left -= len(block)
            if left < 0:
                break
            count += 1
        return count
