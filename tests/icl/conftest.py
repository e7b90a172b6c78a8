from collections.abc import Callable

import pytest
import torch

from llmcodec.codec import AudioCodes, CodecConfig, LayerConfig, LLMCodec, SpectralConfig
from llmcodec.llm import FakeLLM
from llmcodec.prompting import PromptBuilder, load_template
from llmcodec.vocabulary import Vocabulary


@pytest.fixture(scope="session")
def codec() -> LLMCodec:
    """A tiny codec with random weights."""
    torch.manual_seed(0)
    net = SpectralConfig(
        encoder_width=16, encoder_depth=1, context_width=16, context_depth=1, decoder_width=16, decoder_depth=1,
        fine_width=8, fine_depth=1, mels=20,
    )  # fmt: skip
    layers = (LayerConfig("semantic", 4, 8, from_context=True), LayerConfig("coarse", 2, 4), LayerConfig("fine", 1, 4))
    words = Vocabulary.portable().words
    tables = [Vocabulary(words[:64]), Vocabulary(words[:128]), Vocabulary(words[:128])]
    return LLMCodec(CodecConfig(latent_dim=16, backbone=net, layers=layers), tables).eval()


@pytest.fixture
def builder(codec: LLMCodec) -> PromptBuilder:
    return PromptBuilder(load_template("sound"), FakeLLM(), codec.vocabularies, codec.layer_names)


@pytest.fixture
def clip() -> Callable[[list[int]], AudioCodes]:
    """Codes of a clip with these semantic codes."""

    def make(semantic: list[int]) -> AudioCodes:
        layers = tuple(torch.tensor([semantic]).repeat_interleave(4 // stride, dim=1) % 64 for stride in (4, 2, 1))
        return AudioCodes(layers, torch.tensor([1920 * len(semantic)]))

    return make
