"""The errors a user can cause. Each message is one line that says what is wrong and what would be right."""


class LLMCodecError(Exception):
    """Base of every error that llmcodec raises on purpose; the command line prints it and exits with code 2."""

    def __str__(self) -> str:
        return one_line(super().__str__())


class AudioError(LLMCodecError, ValueError):
    """Audio that cannot be read, is empty or holds values that are not finite."""


class ModelError(LLMCodecError):
    """A model, checkpoint or vocabulary that is missing, damaged or does not fit."""


class ConfigError(LLMCodecError, ValueError):
    """A file or folder written by the user (template, recipe, demonstrations, metadata) with a mistake in it."""


class PromptError(LLMCodecError):
    """A prompt that the language model's context cannot hold, or that its vocabulary cannot express."""


def first_line(error: Exception) -> str:
    """What another library's error says, without its further lines; its type if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def one_line(text: str) -> str:
    """The text with a space for line breaks and for whatever could steer a terminal; a user's file may hold either."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
