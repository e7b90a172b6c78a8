import tempfile
from contextlib import ExitStack

import pytest


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """Temporary folders of requests are made here; after a test there are none."""
    from llmcodec.webapp.uploads import FOLDER_PREFIX

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield lambda: list(tmp_path.glob(f"{FOLDER_PREFIX}*"))
    assert not list(tmp_path.iterdir())


@pytest.fixture
def app(service):
    from llmcodec.webapp.api import build_api

    return build_api(service)


@pytest.fixture
def post(app):
    """post(path, files=[(field, file or bytes), ...], data={...}) -> the answer to a form."""
    from asking import asked

    def send(path, files=(), data=None, **request):
        with ExitStack() as opened:

            def body(content):
                return content if isinstance(content, bytes) else opened.enter_context(open(content, "rb"))

            parts = [(field, (f"{field}.wav", body(content))) for field, content in files]
            fields = {name: value for name, value in (data or {}).items() if value is not None}
            return asked(app, "POST", path, files=parts or None, data=fields, **request)

    return send


@pytest.fixture
def refused():
    """refused(answer, status, text): one sentence of JSON with that text, and no path of this machine."""

    def check(answer, status, text):
        assert answer.status_code == status, answer.text
        assert list(answer.json()) == ["detail"]
        detail = answer.json()["detail"]
        assert text in detail and "\n" not in detail and "Traceback" not in detail
        assert tempfile.tempdir not in detail

    return check
