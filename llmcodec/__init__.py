"""Audio as words for any frozen language model. Names are imported when they are first used."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmcodec.audio import load_audio, save_audio
    from llmcodec.codec import AudioCodes, LLMCodec
    from llmcodec.errors import AudioError, ConfigError, LLMCodecError, ModelError, PromptError
    from llmcodec.generation import Enhancer, FewShotGenerator
    from llmcodec.icl import FewShotClassifier
    from llmcodec.llm import load_llm
    from llmcodec.prompting import load_template
    from llmcodec.vocabulary import Vocabulary

try:
    __version__ = version("llmcodec")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0+source"

__all__ = [
    "AudioCodes",
    "AudioError",
    "ConfigError",
    "Enhancer",
    "FewShotClassifier",
    "FewShotGenerator",
    "LLMCodec",
    "LLMCodecError",
    "ModelError",
    "PromptError",
    "Vocabulary",
    "__version__",
    "load_audio",
    "load_llm",
    "load_template",
    "save_audio",
]

_MODULES = {
    "audio": ("load_audio", "save_audio"),
    "codec": ("AudioCodes", "LLMCodec"),
    "errors": ("AudioError", "ConfigError", "LLMCodecError", "ModelError", "PromptError"),
    "generation": ("Enhancer", "FewShotGenerator"),
    "icl": ("FewShotClassifier",),
    "llm": ("load_llm",),
    "prompting": ("load_template",),
    "vocabulary": ("Vocabulary",),
}
_HOMES = {name: f"llmcodec.{module}" for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'llmcodec' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
