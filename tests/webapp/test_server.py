"""Login, sockets, slow clients, and the whole over a real socket."""

import asyncio
import base64
import io
import socket
from contextlib import closing

import pytest
import soundfile

from llmcodec import LLMCodec
from llmcodec.errors import ConfigError
from llmcodec.llm import FakeLLM
from llmcodec.webapp import Service

httpx = pytest.importorskip("httpx")
for package in ("fastapi", "multipart", "uvicorn", "gradio"):
    pytest.importorskip(package)

from llmcodec.webapp import server  # noqa: E402


def basic(login):
    return {"Authorization": "Basic " + base64.b64encode(login.encode()).decode()}


def test_a_login_is_asked_for_everywhere(service):
    app = server.build_app(service, "user:pass:word é")

    async def statuses(headers):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
            return [(await client.get(path)).status_code for path in ("/v1/health", "/docs", "/openapi.json", "/")]

    assert 401 not in asyncio.run(statuses(basic("user:pass:word é")))
    wrong = ["user:pass", "user:", "", "user:pass:word e"]
    for headers in ({}, *map(basic, wrong), {"Authorization": "Basic ü".encode()}, {"Authorization": "Bearer abc"}):
        assert asyncio.run(statuses(headers)) == [401] * 4


def test_the_question_for_a_login(service):
    async def ask():
        transport = httpx.ASGITransport(server.build_app(service, "a:b"))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post("/v1/encode", content=b"not read")

    answer = asyncio.run(ask())
    assert answer.headers["www-authenticate"].startswith("Basic realm=") and list(answer.json()) == ["detail"]


@pytest.mark.parametrize("login", ["", "user", "user:", ":password", ":"])
def test_a_login_is_user_and_password(login):
    with pytest.raises(ConfigError, match="USER:PASSWORD is needed"):
        server.checked_login(login)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("192.168.1.2", False), ("example.org", False)],
)  # fmt: skip
def test_who_can_reach_it(host, loopback):
    assert server.is_loopback(host) == loopback


def test_a_port_that_is_taken_and_a_host_that_is_none(listening):
    port = listening.getsockname()[1]
    with pytest.raises(ConfigError, match=f"127.0.0.1, port {port}: .*; choose with --host and --port"):
        server.listen("127.0.0.1", port)
    with pytest.raises(ConfigError, match=r"256\.0\.0\.1, port 0: "):
        server.listen("256.0.0.1", 0)


async def hello(scope, receive, send):
    """An application that answers a request without reading its body."""
    assert scope["type"] == "lifespan" or scope["type"] == "http"
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"hello"})


def connected(address):
    host, port = address.removeprefix("http://").split(":")
    return closing(socket.create_connection((host, int(port)), timeout=60))


def test_headers_that_do_not_come_are_not_waited_for(running, monkeypatch):
    monkeypatch.setattr(server, "HEADER_SECONDS", 0.05)
    with connected(running(hello)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
        assert client.recv(1) == b""


def test_a_client_that_sends_on_after_its_answer_is_cut_off(running, monkeypatch):
    monkeypatch.setattr(server, "HEADER_SECONDS", 0.05)
    with connected(running(hello)) as client, pytest.raises(OSError):
        client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            client.sendall(bytes(1000))


def test_requests_follow_each_other_on_a_connection(running):
    with httpx.Client(base_url=running(hello)) as client:
        assert [client.get("/").text for _ in range(3)] == ["hello"] * 3


def test_a_real_server_with_the_packaged_codec(running, tmp_path, sound):
    path = tmp_path / "clip.flac"
    soundfile.write(path, sound(40_000).numpy(), 16_000)
    codec = LLMCodec.from_pretrained()
    with Service(codec, FakeLLM()) as service:
        address = running(server.build_app(service, "user:password"))
        with httpx.Client(base_url=address, auth=("user", "password"), timeout=60) as client, path.open("rb") as file:
            encoded = client.post("/v1/encode", files={"file": file})
            assert encoded.status_code == 200, encoded.text
            decoded = client.post("/v1/decode", json=encoded.json())
            samples, rate = soundfile.read(io.BytesIO(decoded.content))
            assert (len(samples), rate) == (40_000, codec.sample_rate)
            form = {"labels": ["a", "b"]}
            clips = [(field, path.read_bytes()) for field in ("demonstrations", "demonstrations", "queries")]
            named = client.post("/v1/classify", files=clips, data=form)
            assert named.json()["results"][0]["probabilities"] == pytest.approx({"a": 0.5, "b": 0.5})
        assert httpx.get(f"{address}/v1/health").status_code == 401
