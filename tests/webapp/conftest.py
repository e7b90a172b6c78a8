import threading

import pytest
import soundfile

from llmcodec.llm import FakeLLM
from llmcodec.webapp import Limits, Service

LIMITS = Limits(upload_bytes=2**20, seconds=5, clips=8, generated_seconds=2, workers=1, queue=1, timeout=60)


@pytest.fixture
def service(tiny_codec):
    with Service(tiny_codec, FakeLLM(), LIMITS) as made:
        yield made


@pytest.fixture(scope="session")
def clip(tmp_path_factory, sound):
    """clip(seed, seconds=0.5) -> a WAV file."""
    folder = tmp_path_factory.mktemp("clips")

    def write(seed=0, seconds=0.5):
        path = folder / f"{seed}-{seconds}.wav"
        soundfile.write(path, sound(round(16_000 * seconds), seed).numpy(), 16_000)
        return path

    return write


@pytest.fixture(scope="session")
def labelled(clip):
    """Two labels, two clips each."""
    return {"low": [clip(0), clip(1)], "high": [clip(8), clip(9)]}


@pytest.fixture(scope="session")
def spoken(labelled):
    """The same clips as recordings of two texts."""
    return [(text, path) for text, paths in labelled.items() for path in paths]


class Gate:
    """Holds up the codec: `reached` is set when a worker stands before it; `open` lets it through."""

    def __init__(self):
        self.reached, self._opened = threading.Event(), threading.Event()

    def __call__(self, *_):
        self.reached.set()
        assert self._opened.wait(60)

    def open(self):
        self._opened.set()


@pytest.fixture
def gate(tiny_codec, service):
    """Stands before each pass of the encoder."""
    made = Gate()
    hook = tiny_codec.encoder.register_forward_pre_hook(made, prepend=True)
    yield made
    made.open()
    hook.remove()


def _server():
    return pytest.importorskip("llmcodec.webapp.server")


@pytest.fixture
def listening():
    with _server().listen("127.0.0.1", 0) as made:
        yield made


@pytest.fixture
def running(listening):
    """running(app) -> its address; it ends after the test."""
    started = []

    def start(app):
        made = _server().server_of(app)
        ready = threading.Event()
        startup = made.startup

        async def begun(*arguments, **options):
            await startup(*arguments, **options)
            ready.set()

        made.startup = begun
        thread = threading.Thread(target=made.run, kwargs={"sockets": [listening]})
        thread.start()
        started.append((made, thread))
        assert ready.wait(60)
        return _server().address(listening)

    yield start
    for made, thread in started:
        made.should_exit = True
        thread.join()
