"""Files that users write: YAML, validated by pydantic. A mistake becomes one line: file, field, what is allowed."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from llmcodec.errors import ConfigError, first_line

Model = TypeVar("Model", bound=BaseModel)


def read_yaml(path: str | os.PathLike[str], model: type[Model]) -> Model:
    """Read and validate a YAML file. Raises ConfigError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; a YAML file is needed") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8 text") from error
    return parse_yaml(text, str(path), model)


def parse_yaml(text: str, file: str, model: type[Model]) -> Model:
    """Validate YAML text; `file` is what messages call it. Raises ConfigError."""
    if lone := re.search(r"\\u[dD][89a-fA-F]", text):
        line = text.count("\n", 0, lone.start()) + 1
        raise ConfigError(f"{file}: line {line}: {lone[0]}.. is half a sign; write the sign itself")
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or first_line(error)
        raise ConfigError(f"{file}: {where}no valid YAML ({problem})") from error
    except (ValueError, TypeError, RecursionError) as error:  # dates and numbers that are none, endless nesting
        raise ConfigError(f"{file}: no valid YAML ({first_line(error)})") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: must be fields and values; fields are {_field_names(model)}")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        mistakes = "; ".join(_explain(mistake, model) for mistake in error.errors())
        raise ConfigError(f"{file}: {mistakes}") from error


def _explain(mistake: Any, model: type[BaseModel]) -> str:
    """Field, what is wrong, what is allowed."""
    field = ".".join(str(part) for part in mistake["loc"])
    if mistake["type"] == "extra_forbidden":
        return f"{field}: unknown field; fields are {_field_names(_inner(model, mistake['loc'][:-1]))}"
    reason = mistake["msg"].removeprefix("Value error, ")
    return f"{field}: {reason}" if field else reason


def _inner(model: type[BaseModel], path: tuple[Any, ...]) -> type[BaseModel]:
    """The model that holds the field at `path`; positions in lists are passed over."""
    for part in path:
        if isinstance(part, str):
            annotation = model.model_fields[part].annotation
            kinds = [annotation, *getattr(annotation, "__args__", ())]
            model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return model


def _field_names(model: type[BaseModel]) -> str:
    return ", ".join(model.model_fields)
