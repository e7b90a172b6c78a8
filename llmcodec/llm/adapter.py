"""Adapters of peft, put into the model that they were made for."""

from __future__ import annotations

import json
from pathlib import Path

from llmcodec.errors import ModelError, first_line
from llmcodec.llm.transformers_backend import TransformersLLM

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def base_of(folder: Path) -> str | None:
    """The model that the adapters in `folder` were made for; None: it holds none. ModelError if it does not say."""
    if not (folder / _CONFIG).is_file():
        return None
    try:
        base = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / _CONFIG}: does not name the model that it was made for") from error
    if not isinstance(base, str) or not (folder / _WEIGHTS).is_file():
        raise ModelError(f"{folder}: no folder of adapters; it needs {_WEIGHTS}, and the name of a model in {_CONFIG}")
    return base


def with_adapter(llm: TransformersLLM, folder: Path) -> TransformersLLM:
    """`llm` with the adapters of `folder` added to its weights, called like the folder. ModelError: they do not fit."""
    from safetensors import SafetensorError

    try:
        from peft import PeftModel
    except ImportError as error:
        raise ModelError(f"{folder}: adapters need {error.name}: pip install 'llmcodec[tune]'") from error
    try:
        model = PeftModel.from_pretrained(llm.model, str(folder)).merge_and_unload()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{folder}: adapters that do not fit {llm.name}: {first_line(error)}") from error
    return TransformersLLM(model, llm.tokenizer, folder.name)
