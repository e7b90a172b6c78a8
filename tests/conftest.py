"""What the tests of several parts share: a tiny random codec and sounds."""

import shutil
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, settings

from llmcodec.codec import CodecConfig, ConvConfig, LayerConfig, LLMCodec, SpectralConfig
from llmcodec.codec.listener import Listener
from llmcodec.codec.source import HarmonicSource
from llmcodec.vocabulary import Vocabulary

# No test is timed: a slow or busy machine must not fail one.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

TINY = CodecConfig(
    latent_dim=16,
    backbone=SpectralConfig(
        mels=20, kernel=3, expansion=1, encoder_width=16, encoder_depth=2, listener_mels=20,
        listener_width=16, listener_heads=2, listener_expansion=1, listener_kernel=3, listener_slow_kernel=3,
        decoder_width=16, decoder_depth=2, fine_width=8, fine_depth=1, harmonic_bands=6,
    ),
    layers=(
        LayerConfig("semantic", 4, 8, from_context=True), LayerConfig("coarse", 2, 4, patched=True),
        LayerConfig("fine", 1, 4),
    ),
)  # fmt: skip

TINY_PLAIN = replace(TINY, backbone=replace(TINY.backbone, harmonic_bands=0))
TINY_CONV = CodecConfig(
    latent_dim=64,
    backbone=ConvConfig(encoder_width=4, decoder_width=128),
    layers=(LayerConfig("semantic", 4, 0, query_norm=False), LayerConfig("coarse", 2, 8), LayerConfig("fine", 1, 4)),
)


def build_codec(seed=0, config=TINY):
    torch.manual_seed(seed)
    words = Vocabulary.portable().words
    codec = LLMCodec(config, [Vocabulary(words[:40]), Vocabulary(words[:60]), Vocabulary(words[20:80])])
    for module in codec.modules():  # random biases would outweigh the sound
        if isinstance(module, torch.nn.Conv1d | torch.nn.ConvTranspose1d) and module.bias is not None:
            module.bias.data.zero_()
        if isinstance(module, Listener):  # and so would the level of its log energies
            module.front.weight.data -= module.front.weight.data.mean((1, 2), keepdim=True)
        if isinstance(module, HarmonicSource):  # soft: phases of pitches at random add up what floats leave
            module.to_envelope.bias.data.fill_(-6.0)
    return codec.eval().requires_grad_(False)


def make_sound(samples, seed=0, rate=16_000):
    """A gliding tone in noise that comes and goes, float32 [samples]."""
    time = torch.arange(samples) / rate
    noise = torch.randn(samples, generator=torch.Generator().manual_seed(seed))
    tone = torch.sin(2 * torch.pi * (200 + 150 * seed + 300 * time) * time)
    return (0.3 * tone + 0.2 * noise) * (0.55 + 0.45 * torch.sin(7 * time))


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_codec():
    """Random weights, three layers, 16 kHz, words of the portable list."""
    return build_codec()


@pytest.fixture(scope="session", params=[TINY, TINY_PLAIN, TINY_CONV], ids=["spectral", "plain", "conv"])
def each_codec(request):
    """A tiny random codec of each backbone; `plain` is the spectral one without a harmonic source."""
    return build_codec(config=request.param)


@pytest.fixture(scope="session")
def conv_codec():
    return build_codec(config=TINY_CONV)


@pytest.fixture(scope="session")
def new_codec():
    """new_codec(seed) -> another random codec of the same shape."""
    return build_codec


@pytest.fixture(scope="session")
def sound():
    """sound(samples, seed=0) -> a waveform float32 [samples]."""
    return make_sound


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium by Playwright, where both are installed."""
    sync_api = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium on this machine")
    with sync_api.sync_playwright() as play:
        started = play.chromium.launch(
            executable_path=program,
            args=[
                "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
                "--autoplay-policy=no-user-gesture-required",
            ],
        )  # fmt: skip
        yield started
        started.close()
