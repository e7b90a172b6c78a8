"""The examples of docs/serve.md work: the server's beside a server, with a tiny codec and a fake language model."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

for package in ("fastapi", "gradio", "httpx", "multipart", "uvicorn"):
    pytest.importorskip(package)

from llmcodec.webapp import server  # noqa: E402

PAGE = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")
NAMES = ("clip", "query", "dog1", "dog2", "rain1", "rain2", "one", "two", "noisy", "clean")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def workplace(tmp_path, monkeypatch, clip):
    for number, name in enumerate(NAMES):
        shutil.copy(clip(number % 8), tmp_path / f"{name}.wav")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.skipif(shutil.which("curl") is None, reason="the examples use curl")
def test_the_commands_of_the_api(workplace, running, service):
    address = running(server.build_app(service))
    (block,) = [block for block in blocks("bash") if "curl" in block]
    commands = [line for line in block.splitlines() if line.startswith("curl")]
    assert len(commands) == 8
    for command in commands:
        asked = command.replace("http://127.0.0.1:7860", address).replace("curl", "curl -sS --fail-with-body", 1)
        done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    made = {"clip.json", "clip.safetensors", "copy.wav", "said.wav", "enhanced.wav"}
    assert made <= {path.name for path in workplace.iterdir()}


def test_the_client_in_python(workplace, running, service, capsys):
    address = running(server.build_app(service, "user:password"))
    (block,) = [block for block in blocks("python") if "httpx" in block]
    exec(block.replace("http://127.0.0.1:7860", address), {})
    assert set(eval(capsys.readouterr().out)) == {"dog", "rain"}


def test_the_service_in_python(workplace, service, monkeypatch, capsys):
    monkeypatch.setattr(sys.modules["llmcodec"].LLMCodec, "from_pretrained", lambda: service.codec)
    monkeypatch.setattr("llmcodec.load_llm", lambda: service.llm, raising=False)
    (block,) = [block for block in blocks("python") if "Service" in block]
    exec(block, {})
    assert capsys.readouterr().out.startswith(("dog {", "rain {"))


def test_the_limits_are_those_of_the_command():
    from typer.main import get_command

    from llmcodec.cli import app

    options = {option.opts[0]: option.default for option in get_command(app).commands["serve"].params}
    rows = dict(re.findall(r"^\| `(--[\w-]+)` \| (\d+)", PAGE, re.MULTILINE))
    assert len(rows) == 7
    assert all(options[name] == int(value) for name, value in rows.items())
