"""Task templates: the text around the words of a clip, one YAML file each."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from llmcodec.errors import ConfigError
from llmcodec.userfile import parse_yaml, read_yaml

WORDS, LABEL, LABELS = "{words}", "{label}", "{labels}"
_PROMPTS = files("llmcodec") / "prompts"

Text = Annotated[str, Field(min_length=1)]


class TaskTemplate(BaseModel):
    """How one task is put to a language model.

    instruction: text before the demonstrations of a `direct` prompt; {labels} becomes "'a' or 'b'". May be empty.
    demonstration: text with {words}, then {label}. Spaces right before {label} belong to the label, since most
        tokenizers join a space and the word behind it into one token.
    query: text with {words}; what follows {words} is what stands between {words} and {label} in `demonstration`,
        without those spaces, so the label continues a query as it continues a demonstration.
    layers: names of the codec's layers whose words stand for {words}, in this order, one after another.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Text
    description: Text
    instruction: str = ""
    demonstration: str
    query: str
    layers: Annotated[tuple[Text, ...], Field(min_length=1)]
    _file: str | None = PrivateAttr(default=None)

    @property
    def origin(self) -> str:
        """What to call the template in a message: its file if it was read from one, else its name."""
        return self._file or f"template {self.name}"

    @property
    def head(self) -> str:
        """Text of a demonstration before its words."""
        return self.demonstration.partition(WORDS)[0]

    @property
    def lead(self) -> str:
        """Text between words and label, without the spaces that belong to the label."""
        return _before_label(self.demonstration).rstrip(" ")

    @property
    def label_space(self) -> str:
        """The spaces that belong to the label."""
        between = _before_label(self.demonstration)
        return between[len(between.rstrip(" ")) :]

    @property
    def tail(self) -> str:
        """Text of a demonstration behind its label."""
        return self.demonstration.partition(LABEL)[2]

    @property
    def query_head(self) -> str:
        """Text of the query before its words."""
        return self.query.partition(WORDS)[0]

    @field_validator("instruction")
    @classmethod
    def _check_instruction(cls, text: str) -> str:
        return _check_placeholders(text, optional=(LABELS,))

    @field_validator("demonstration")
    @classmethod
    def _check_demonstration(cls, text: str) -> str:
        _check_placeholders(text, needed=(WORDS, LABEL))
        if text.index(WORDS) > text.index(LABEL):
            raise ValueError(f"{WORDS} must come before {LABEL}")
        return text

    @field_validator("query")
    @classmethod
    def _check_query(cls, text: str) -> str:
        return _check_placeholders(text, needed=(WORDS,))

    @field_validator("layers")
    @classmethod
    def _check_layers(cls, layers: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(layers)) < len(layers):
            raise ValueError("each layer may be named once")
        return layers

    @model_validator(mode="after")
    def _check_query_end(self) -> TaskTemplate:
        end = self.query.partition(WORDS)[2]
        if end != self.lead:
            raise ValueError(
                f"query must end where the label of demonstration begins: {self.lead!r} behind {WORDS}, not {end!r}"
            )
        return self


def with_layers(template: TaskTemplate, layers: Iterable[str] | None) -> TaskTemplate:
    """The template with other layers; None: as it is."""
    return template if layers is None else template.model_copy(update={"layers": tuple(layers)})


def instruction(template: TaskTemplate, labels: Iterable[str]) -> str:
    """The template's instruction for these labels, in this order."""
    return template.instruction.replace(LABELS, " or ".join(f"'{label}'" for label in labels))


def template_names() -> list[str]:
    """Names of the templates inside the package, sorted."""
    return sorted(Path(entry.name).stem for entry in _PROMPTS.iterdir() if entry.name.endswith(".yaml"))


def load_template(name_or_path: str | os.PathLike[str]) -> TaskTemplate:
    """Read a template of the package by name, or any other by the path of its YAML file.

    Raises ConfigError that names the file, the field and what is allowed.
    """
    named = str(name_or_path)
    if named in template_names():
        text = (_PROMPTS / f"{named}.yaml").read_text(encoding="utf-8")
        return _of_file(parse_yaml(text, f"{named}.yaml", TaskTemplate), f"{named}.yaml")
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"{named}: no such template; use {', '.join(template_names())} or the path of a .yaml file")
    return _of_file(read_yaml(path, TaskTemplate), named)


def _of_file(template: TaskTemplate, file: str) -> TaskTemplate:
    template._file = file
    return template


def _before_label(demonstration: str) -> str:
    """The text between {words} and {label}."""
    return demonstration.partition(LABEL)[0].partition(WORDS)[2]


def _check_placeholders(text: str, needed: tuple[str, ...] = (), optional: tuple[str, ...] = ()) -> str:
    found = re.findall(r"\{\w*\}", text)
    for placeholder in found:
        if placeholder not in needed + optional:
            raise ValueError(f"unknown {placeholder}; allowed: {', '.join(needed + optional)}")
    for placeholder in needed:
        if found.count(placeholder) != 1:
            raise ValueError(f"must hold {placeholder} once, has it {found.count(placeholder)} times")
    return text
