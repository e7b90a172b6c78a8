"""Frozen language models: what they promise, the backends, and where models come from."""

from llmcodec.llm.base import FrozenLLM, Prefix
from llmcodec.llm.decoding import GREEDY, Generation, Sampling, Schedule, ScheduleProcessor
from llmcodec.llm.fake import FakeLLM
from llmcodec.llm.served import ServedLLM
from llmcodec.llm.sources import (
    DEFAULT_LLM,
    KnownModel,
    list_models,
    llm_source,
    load_llm,
    load_transformers,
    resolve_llm,
)
from llmcodec.llm.transformers_backend import TransformersLLM

__all__ = [
    "DEFAULT_LLM",
    "GREEDY",
    "FakeLLM",
    "FrozenLLM",
    "Generation",
    "KnownModel",
    "Prefix",
    "Sampling",
    "Schedule",
    "ScheduleProcessor",
    "ServedLLM",
    "TransformersLLM",
    "list_models",
    "llm_source",
    "load_llm",
    "load_transformers",
    "resolve_llm",
]
