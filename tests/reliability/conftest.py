import pytest

from llmcodec.errors import LLMCodecError


@pytest.fixture(scope="session")
def borne():
    """borne(function, ...) -> what it gives, or None if it refuses by one line; any other error fails the test."""

    def call(function, *arguments, **options):
        try:
            return function(*arguments, **options)
        except LLMCodecError as error:
            assert str(error) and len(str(error).splitlines()) == 1, repr(str(error))
            return None

    return call
