import re

import pytest

from llmcodec.errors import ConfigError
from llmcodec.evaluation.scp import read_scp


@pytest.fixture
def audio(tmp_path):
    for name in ("a1", "a2", "b1", "b2"):
        (tmp_path / f"{name}.wav").write_bytes(b"")
    return tmp_path


def write(audio, text):
    (audio / "list.scp").write_text(text, encoding="utf-8")
    return audio / "list.scp"


def test_a_line_is_an_episode(audio):
    lines = "a/a1.wav,b/b1.wav,a/a2.wav,\nb/b1.wav,a/a2.wav,b/b2.wav,\n\n"
    folder, episodes = read_scp(write(audio, lines), audio)
    assert folder.names == ("a1.wav", "b1.wav", "a2.wav", "b2.wav") and folder.labels == ("a", "b", "a", "b")
    assert episodes[0].labels == ("a", "b") and episodes[0].demonstrations == ((0,), (1,))
    assert episodes[1].labels == ("b", "a") and episodes[1].queries == (3,)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("a/a1.wav,b/b1.wav,a/a2.wav,\na/a1.wav,b/b1.wav,a/a1.wav,", "line 2: the query a1.wav is a demonstration too"),
        ("a/a1.wav,a1.wav,a/a2.wav,", "line 1: 'a1.wav' is no label/file"),
        ("a/b/a1.wav,b/b1.wav,a/a2.wav,", "line 1: 'a/b/a1.wav' is no label/file"),
        ("a/a1.wav,b/z.wav,a/a2.wav,", "line 1: z.wav: no such audio file"),
        ("a/a1.wav,b/b1.wav,b/a2.wav,\na/a1.wav,b/b1.wav,a/a2.wav,", "line 2: a2.wav is a here and b before"),
        ("a/a1.wav,a/a2.wav,b/b1.wav,a/b2.wav,", "line 1: needs two labels or more with equally many demonstrations"),
        ("a/a1.wav,b/b1.wav,c/b2.wav,", "the query b2.wav has the label 'c', which is not demonstrated"),
        ("\n", "holds no episodes"),
    ],
)
def test_mistakes_and_leaks_name_the_line(audio, lines, reason):
    with pytest.raises(ConfigError, match=re.escape(reason)):
        read_scp(write(audio, lines), audio)
    with pytest.raises(ConfigError, match="No such file"):
        read_scp(audio / "none.scp", audio)
