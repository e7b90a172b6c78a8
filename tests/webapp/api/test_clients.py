"""The HTTP API, asked in this process by clients that go away."""

import asyncio

import pytest
from asking import asked, httpx

from llmcodec.webapp import Limits, Service
from llmcodec.webapp.api import build_api


class Client:
    """A client that sends a form and may go away at any point: the application's `receive` and `send`."""

    def __init__(self, path, clip, whole=True, field="file", data=None):
        request = httpx.Request("POST", f"http://test{path}", files={field: clip.read_bytes()}, data=data)
        if path == "/v1/decode":
            request.headers["Content-Type"] = "application/json"
        self.body, self.whole = request.read(), whole
        self.scope = {
            "type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "path": path,
            "query_string": b"", "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "root_path": "", "server": ("test", 80), "client": ("test", 1), "asgi": {"spec_version": "2.3"},
        }  # fmt: skip
        self.sent, self.gone = [], asyncio.Event()

    async def receive(self):
        if self.body is not None:
            body, self.body = self.body, None
            return {"type": "http.request", "body": body, "more_body": not self.whole}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        self.sent.append(message)


@pytest.mark.parametrize("queued", [False, True])
def test_a_client_that_goes_away_cancels_its_work(app, service, gate, clip, folders, queued):
    async def scenario():
        if queued:
            service.pool.submit(service.job(), gate)
        client = Client("/v1/encode", clip(3))
        task = asyncio.create_task(app(client.scope, client.receive, client.send))
        await asyncio.to_thread(gate.reached.wait, 60)
        while service.pool.load < 1 + queued:
            await asyncio.sleep(0)
        assert folders()
        client.gone.set()
        if not queued:
            while not next(iter(service.pool._jobs))._cancelled.is_set():
                await asyncio.sleep(0)
            gate.open()
        await task
        assert service.pool.load == queued and not folders()
        gate.open()

    asyncio.run(scenario())


def test_a_client_that_leaves_a_stream_cancels_it(app, service, clip, folders):
    async def scenario():
        data = {"text": "low", "texts": "low", "seconds": "2", "stream": "1"}
        client = Client("/v1/speak", clip(3), field="recordings", data=data)
        leave = client.send

        async def send(message):
            await leave(message)
            if message["type"] == "http.response.body":
                client.gone.set()
                await asyncio.sleep(0)

        await app(client.scope, client.receive, send)
        assert client.sent[0]["status"] == 200 and client.sent[1]["body"].startswith(b"RIFF")
        assert not folders()

    asyncio.run(scenario())
    service.close()
    assert service.pool.load == 0


@pytest.mark.parametrize("path", ["/v1/encode", "/v1/decode"])
def test_a_client_that_goes_away_while_it_sends_is_no_failure(app, clip, path):
    async def scenario():
        client = Client(path, clip(3), whole=False)
        client.gone.set()
        await app(client.scope, client.receive, client.send)
        assert client.sent[0]["status"] == 400

    asyncio.run(scenario())


def test_a_body_that_does_not_come_is_not_waited_for(tiny_codec, service, refused):
    with Service(tiny_codec, service.llm, Limits(timeout=0.01)) as hasty:
        app = build_api(hasty)

        async def never():
            yield b"--x"
            await asyncio.Event().wait()

        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        answer = asked(app, "POST", "/v1/encode", content=never(), headers=headers)
        refused(answer, 408, "the request did not come in within 0.01 s")
