"""The codec: waveform to codes and back."""

from llmcodec.codec.codes import AudioCodes
from llmcodec.codec.config import CodecConfig, ConvConfig, LayerConfig, SpectralConfig
from llmcodec.codec.model import LLMCodec
from llmcodec.codec.streaming import join_codes
from llmcodec.codec.wordspace import WordSpace

__all__ = [
    "AudioCodes",
    "CodecConfig",
    "ConvConfig",
    "LLMCodec",
    "LayerConfig",
    "SpectralConfig",
    "WordSpace",
    "join_codes",
]
