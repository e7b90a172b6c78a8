"""Asking the HTTP API in this process."""

import asyncio
import io

import pytest
import soundfile
import torch

pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")
pytest.importorskip("multipart", reason="python-multipart reads the forms")

LAYERS = ["semantic", "coarse", "fine"]


def asked(app, method, path, **request):
    async def ask():
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, **request)

    return asyncio.run(ask())


def demonstrations(labelled):
    """Form fields and files of a classification without its queries."""
    shown = [(label, path) for label, paths in labelled.items() for path in paths]
    return {"labels": [label for label, _ in shown]}, [("demonstrations", path) for _, path in shown]


def recordings(spoken):
    return {"texts": [text for text, _ in spoken]}, [("recordings", path) for _, path in spoken]


def sound_of(answer):
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "audio/wav"
    samples, rate = soundfile.read(io.BytesIO(answer.content), dtype="float32")
    assert rate == 16_000
    return torch.from_numpy(samples)
