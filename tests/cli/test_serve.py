import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import llmcodec

httpx = pytest.importorskip("httpx")
for package in ("fastapi", "multipart", "uvicorn", "gradio"):
    pytest.importorskip(package)

from llmcodec.webapp import server  # noqa: E402

SERVE = """
import sys
import llmcodec.llm
llmcodec.llm.load_llm = lambda *_: llmcodec.llm.FakeLLM()
from llmcodec.cli import app
app(["serve", "--port", "0", *sys.argv[1:]])
"""


@pytest.fixture
def ended(monkeypatch):
    """A server that is interrupted at once; the application it was to serve."""
    apps = []

    class Interrupted:
        def run(self, sockets):
            raise KeyboardInterrupt

    monkeypatch.setattr(server, "server_of", lambda app: apps.append(app) or Interrupted())
    return apps


def test_it_says_where_it_is_and_ends_quietly(run, ended):
    result = run("serve", "--port", 0)
    assert result.exit_code == 0 and result.stderr == ""
    assert result.stdout.startswith("http://127.0.0.1:") and len(result.stdout.splitlines()) == 1


@pytest.mark.parametrize(("auth", "warned"), [([], True), (["--auth", "a:b"], False)])
def test_a_server_open_to_everybody_is_warned_of(run, ended, auth, warned):
    result = run("serve", "--host", "0.0.0.0", "--port", 0, *auth)
    assert result.exit_code == 0 and bool(result.stderr) == warned
    assert not warned or result.stderr.startswith("warning: whoever reaches 0.0.0.0 can use this server")


def test_options_set_the_limits(run, ended, monkeypatch):
    made = []
    monkeypatch.setattr(server, "build_app", lambda service, login: made.append((service.limits, login)))
    monkeypatch.setenv("LLMCODEC_AUTH", "user:password")
    options = "--max-upload-mb 2 --max-seconds 2 --max-clips 3 --max-generated-seconds 4 --workers 5 --queue 0"
    result = run("serve", "--port", 0, *options.split(), "--timeout", 7, "--threads", 1)
    assert result.exit_code == 0, result.stderr
    limits, login = made[0]
    assert login == "user:password"
    assert (limits.upload_bytes, limits.seconds, limits.clips, limits.generated_seconds) == (2**21, 2, 3, 4)
    assert (limits.workers, limits.queue, limits.timeout) == (5, 0, 7)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--auth", "user"], "--auth: USER:PASSWORD is needed"),
        (["--workers", "0"], "workers: 0 must be above 0"),
        (["--timeout", "nan"], "timeout: nan must be above 0 and finite"),
        (["--max-upload-mb", "0"], "upload_bytes: 0 must be above 0"),
        (["--host", "256.0.0.1"], "256.0.0.1, port 0: "),
    ],
)
def test_wrong_options_are_one_line(run, refused, ended, options, reason):
    refused(run("serve", "--port", 0, *options), reason)


def test_a_port_that_is_taken_is_one_line(run, refused, ended):
    with server.listen("127.0.0.1", 0) as other:
        port = other.getsockname()[1]
        refused(run("serve", "--port", port), f"127.0.0.1, port {port}: ")


def test_a_missing_package_is_one_line(run, refused, monkeypatch):
    monkeypatch.delitem(sys.modules, "llmcodec.webapp.server")
    monkeypatch.delattr("llmcodec.webapp.server")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    refused(run("serve"), "serve needs uvicorn: pip install 'llmcodec[web]'")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_ends_the_process_quietly(codec_folder):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(llmcodec.__file__).parents[1])}
    command = [sys.executable, "-c", SERVE, "--codec", str(codec_folder)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        address = process.stdout.readline().split(": ")[0]
        assert httpx.get(f"{address}/v1/health", timeout=60).json()["llm"] == "fake"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
