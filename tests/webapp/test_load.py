"""The benchmark of a server under load, with few clients and little time."""

import contextlib
import importlib
import json
import os
import sys
import types
from pathlib import Path

import pytest
import soundfile

httpx = pytest.importorskip("httpx")
for package in ("fastapi", "gradio", "multipart", "uvicorn"):
    pytest.importorskip(package)

from llmcodec.webapp import server  # noqa: E402

FOLDER = Path(__file__).parents[2] / "benchmarks"

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module("load")
    for name in ("_common", "_load_table", "load"):
        sys.modules.pop(name, None)


@pytest.fixture
def sounds(tmp_path, sound):
    for number, label in enumerate(("low", "high")):
        (tmp_path / "sounds" / label).mkdir(parents=True)
        for take in range(2):
            path = tmp_path / "sounds" / label / f"{take}.wav"
            soundfile.write(path, sound(8000, 7 * number + take).numpy(), 16_000)
    return tmp_path / "sounds"


@pytest.fixture
def measured(script, running, service, sounds, monkeypatch, tmp_path, capsys):
    """measured(app) -> exit code, what was written and printed, of a load on a server in this process."""

    def measure(app):
        address = running(app)

        @contextlib.contextmanager
        def started(arguments, folder):
            yield types.SimpleNamespace(pid=os.getpid()), address

        monkeypatch.setattr(script, "started", started)
        out = tmp_path / "load.json"
        options = "--clients 3 --slow 2 --killed 2 --seconds 2"
        code = script.main(["--data", str(sounds), *options.split(), "--out", str(out)])
        return code, json.loads(out.read_text()), capsys.readouterr().out

    return measure


def test_every_request_has_its_answer(measured, service):
    code, written, printed = measured(server.build_app(service))
    assert code == 0, printed
    assert written["lost"] == {} and written["wrong"] == 0 and written["folders_left"] == 0 and written["gone"] > 0
    answers = sum(count for row in written["rows"] for count in row["statuses"].values())
    assert answers == written["requests"] > 0 and written["memory_mb"]
    assert printed.startswith("| request | 200 | 429 |") and "3 clients for 2 s" in printed
    assert service.pool.load == 0


def test_a_failing_server_is_told(measured, service, monkeypatch):
    app = server.build_app(service)
    monkeypatch.setattr(service, "classify", lambda *_: 1 // 0)
    monkeypatch.setattr(service, "_decoded", lambda *_: 1 // 0)
    code, written, _ = measured(app)
    assert code == 1 and any("500" in row["statuses"] for row in written["rows"])
