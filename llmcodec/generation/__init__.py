"""Audio out by demonstration: a frozen language model reads pairs and writes the words of new audio."""

from llmcodec.generation.enhance import Enhancer
from llmcodec.generation.generator import FewShotGenerator, Generated
from llmcodec.generation.rerank import RERANKERS
from llmcodec.generation.thinking import Answer, Thinker

__all__ = ["RERANKERS", "Answer", "Enhancer", "FewShotGenerator", "Generated", "Thinker"]
