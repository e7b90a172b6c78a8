from collections.abc import Callable

import pytest
import torch

from llmcodec.codec import AudioCodes, LLMCodec, WordSpace
from llmcodec.llm import FakeLLM
from llmcodec.prompting import PromptBuilder, load_template


@pytest.fixture
def builder(tiny_codec: LLMCodec) -> PromptBuilder:
    return PromptBuilder(load_template("sound"), FakeLLM(), tiny_codec.vocabularies, tiny_codec.layer_names)


@pytest.fixture
def space(tiny_codec: LLMCodec) -> WordSpace:
    return WordSpace(tiny_codec, load_template("sound").layers)


@pytest.fixture
def clip() -> Callable[[list[int]], AudioCodes]:
    """Codes of a clip with these semantic codes."""

    def make(semantic: list[int]) -> AudioCodes:
        layers = tuple(torch.tensor([semantic]).repeat_interleave(4 // stride, dim=1) for stride in (4, 2, 1))
        return AudioCodes(layers, torch.tensor([1920 * len(semantic)]))

    return make
