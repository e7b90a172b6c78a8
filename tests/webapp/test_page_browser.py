"""The page as a browser shows it, with the packaged codec and, where it is found, the default language model.

LLMCODEC_SCREENSHOTS=docs/screenshots writes the pictures of the documentation.
"""

import io
import os
import threading
from pathlib import Path

import pytest
import soundfile

from llmcodec import LLMCodec, load_audio, load_llm
from llmcodec.llm import FakeLLM, list_models
from llmcodec.webapp import Limits, Service

server = pytest.importorskip("llmcodec.webapp.server")
DEMO = Path(__file__).parents[2] / "llmcodec" / "data" / "demo"
PATIENCE = 240_000  # milliseconds that an answer may take on a busy machine
WIDTHS = (1280, 400)
HEIGHT, MARGIN = 1600, 20  # of a screenshot, at most; above what it begins with


@pytest.fixture(scope="module")
def codec():
    return LLMCodec.from_pretrained()


@pytest.fixture(scope="module")
def service(codec):
    words = dict.fromkeys(word for vocabulary in codec.vocabularies for word in vocabulary.words)
    llm = load_llm() if any(model.folder for model in list_models()) else FakeLLM(words)
    with Service(codec, llm, Limits(seconds=20, timeout=600)) as made:
        yield made


@pytest.fixture(scope="module")
def address(service):
    """Of a server of its own."""
    with server.listen("127.0.0.1", 0) as listening:
        running = server.server_of(server.build_app(service))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        yield server.address(listening)
        running.should_exit = True
        thread.join()


@pytest.fixture(scope="module", params=WIDTHS)
def page(request, browser, address):
    """The page at one width; at the end it has asked no other host and complained of nothing."""
    made = browser.new_page(viewport={"width": request.param, "height": 900})
    made.set_default_timeout(PATIENCE)
    asked, complaints = set(), []
    made.on("request", lambda sent: asked.add(sent.url.partition("?")[0]))
    made.on("pageerror", lambda error: complaints.append(str(error)))
    made.add_init_script(
        """window.live = 0; const start = AudioBufferSourceNode.prototype.start;
        AudioBufferSourceNode.prototype.start = function (at) {
          live += this.buffer.duration; start.call(this, at); };"""
    )
    made.goto(address)
    yield made
    made.close()
    assert not [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert complaints == []


def opened(page, name):
    page.get_by_role("tab", name=name, exact=True).click()
    panel = page.get_by_role("tabpanel").locator("visible=true")
    panel.get_by_role("button", name="Try it with").wait_for()
    return panel


def block(panel, label):
    """A field of files or a player, by its label."""
    return panel.locator(".block").filter(has=panel.page.get_by_test_id("block-label").filter(has_text=label))


def upload(panel, label, *paths):
    field = block(panel, label)
    field.locator("input[type=file]").set_input_files([str(path) for path in paths])
    field.locator("audio, .file-preview").first.wait_for()


def seconds(player):
    return player.evaluate(
        """async (player) => {
          player.preload = "auto";
          for (let tries = 0; tries < 200 && !(player.duration > 0); tries++)
            await new Promise((done) => setTimeout(done, 100));
          return player.duration;
        }"""
    )


def samples(player):
    """What a player plays."""
    answer = player.page.request.get(player.evaluate("(player) => player.src"))
    return soundfile.read(io.BytesIO(answer.body()))[0]


def refused(page, sentence):
    """A sentence is shown, and can be put away."""
    toast = page.get_by_test_id("toast-body").filter(has_text=sentence)
    toast.wait_for()
    assert "Traceback" not in toast.inner_text()
    toast.get_by_test_id("toast-close").click()


def checked(page, name, start=None):
    """Nothing is wider than the page, every field has a name; the screenshot, from `start` on, if it is asked for."""
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("input:not([type=file]), textarea, select, audio")].filter((field) =>
          field.offsetParent && !field.labels?.length && !field.ariaLabel && !field.getAttribute("aria-labelledby")
          && !field.closest(".block")?.querySelector("[data-testid=block-label]")).map((field) => field.outerHTML)"""
    )
    assert nameless == []
    if folder := os.environ.get("LLMCODEC_SCREENSHOTS"):
        from PIL import Image

        page.evaluate("scrollTo(0, 0)")
        top = 0 if start is None else round(start.bounding_box()["y"]) - MARGIN
        drawn = Image.open(io.BytesIO(page.screenshot(full_page=True)))
        drawn = drawn.crop((0, top, drawn.width, min(drawn.height, top + HEIGHT))).convert("RGB")
        Path(folder).mkdir(exist_ok=True)
        drawn.quantize(64).save(Path(folder) / f"{name.lower()}-{width}.png", optimize=True)


def test_classify(page):
    panel = opened(page, "Classify")
    panel.get_by_label("Label 1", exact=True).fill("<i>bass</i>")
    upload(panel, "Clips of label 1", DEMO / "demonstrations/bass/bass1.flac")
    go = panel.get_by_role("button", name="Name them")
    go.click()
    refused(page, "no queries")
    upload(panel, "Clips to name", DEMO / "queries/query4.flac")
    panel.get_by_label("Label 2", exact=True).fill("tabla")
    go.click()
    refused(page, "Label 2, 'tabla', has no clips")
    upload(panel, "Clips of label 2", DEMO / "demonstrations/tabla/tabla2.flac")
    go.click()
    cards = panel.locator("#classified article")
    cards.wait_for()
    assert "query4.flac" in cards.inner_text() and "<i>bass</i>" in cards.inner_text()

    panel.get_by_role("button", name="Try it with").click()
    cards.nth(7).wait_for()
    assert cards.count() == 8 and "<i>" not in cards.first.inner_text()
    for card in cards.all():
        assert sum(float(meter.get_attribute("value")) for meter in card.locator("meter").all()) == pytest.approx(
            1, abs=0.01
        )
        assert all(1 < seconds(player) < 4.5 for player in card.locator("audio").all())
        assert card.locator("mark").count()
    names = [card.locator("h3 b").inner_text() for card in cards.all()]
    assert sum(a == b for a, b in zip(names, ["bass", "beat", "cymbal", "tabla"] * 2, strict=True)) >= 4
    checked(page, "Classify", go)


def test_words(page, codec, tmp_path):
    panel = opened(page, "Words")
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF" + bytes(range(200)))
    go = panel.get_by_role("button", name="Show its words")
    go.click()
    refused(page, "the clip is missing")
    upload(panel, "Clip", broken)
    go.click()
    refused(page, "broken.wav: no audio file that can be read")
    panel.get_by_role("button", name="Put it there and decode").click()
    refused(page, "no clip is shown")

    panel.get_by_role("button", name="Try it with").click()
    buttons = panel.locator("#words button[data-layer]")
    buttons.first.wait_for()
    codes = codec.encode(load_audio(DEMO / "queries/query4.flac"))
    assert buttons.count() == sum(row.numel() for row in codes.layers)
    own = codec.words(codes)["semantic"]
    chosen = panel.locator("#words button[data-layer='0']").nth(4)
    assert chosen.inner_text() == own[4]
    chosen.click()
    panel.locator("#about", has_text=f"{own.count(own[4])} time").wait_for()
    assert panel.locator("#words button[aria-pressed=true]").count() == own.count(own[4]) > 1
    assert 0.3 < seconds(block(panel, "The chosen word").locator("audio")) < 0.5

    panel.get_by_label("Another word of that layer").click()
    other = page.get_by_role("option").nth(5)
    word = other.inner_text().strip()
    other.click()
    panel.get_by_role("button", name="Put it there and decode").click()
    edited = block(panel, "Decoded from the words as edited").locator("audio")
    edited.wait_for()
    assert panel.locator("#words button.edited").all_inner_texts() == [word] * own.count(own[4])
    before = block(panel, "Decoded from its own words").locator("audio")
    assert seconds(edited) == pytest.approx(seconds(before)) and seconds(edited) > 2
    assert abs(samples(edited) - samples(before)).max() > 0.001
    checked(page, "Words")
    panel.get_by_role("button", name="Back to the clip's own words").click()
    edited.wait_for(state="detached")
    assert not panel.locator("#words button.edited").count()


def test_speak(page, service):
    panel = opened(page, "Speak")
    go = panel.get_by_role("button", name="Say it")
    go.click()
    refused(page, "demonstrations")
    panel.get_by_role("button", name="Try it with").click()
    said = block(panel, "What it says").locator("audio")
    said.wait_for()
    assert seconds(said) == pytest.approx(1, abs=0.01)
    assert page.evaluate("live") == pytest.approx(1, abs=0.01)  # it was played while it came
    assert panel.locator("#written dt").all_inner_texts() == ["semantic", "coarse", "fine"]
    assert panel.locator("#written span").count() == 9 + 17 + 34
    checked(page, "Speak", panel.get_by_text("Say this: one of"))
    panel.get_by_label("Say this").fill("violin")
    go.click()
    refused(page, "'violin' was not demonstrated")
    panel.get_by_label("Say this").fill("tabla bass tabla")
    panel.get_by_label("Seconds").fill("10")
    go.click()
    panel.locator("#said", has_text="Written so far").wait_for()
    panel.get_by_role("button", name="Stop").click()
    while service.pool.load:
        page.wait_for_timeout(200)
    assert "Written so far" in panel.locator("#said").inner_text()


def test_enhance(page):
    panel = opened(page, "Enhance")
    upload(panel, "Noisy halves", DEMO / "queries/query1.flac")
    upload(panel, "Noisy clip", DEMO / "queries/query1.flac")
    panel.get_by_role("button", name="Clean it").click()
    refused(page, "1 noisy and 0 clean clips make no pairs")
    panel.get_by_role("button", name="Try it with").click()
    after = block(panel, "After").locator("audio")
    after.wait_for()
    before = block(panel, "Before").locator("audio")
    assert seconds(after) == pytest.approx(seconds(before)) and seconds(after) > 2
    clean = load_audio(DEMO / "queries/query4.flac").numpy()
    noise, left = (((samples(player) - clean) ** 2).mean() for player in (before, after))
    assert left < 0.5 * noise
    assert panel.locator("figure.sound img").count() == 2
    checked(page, "Enhance")


def test_codec(page, codec):
    panel = opened(page, "Codec")
    upload(panel, "Clip", DEMO / "queries/query6.flac")
    panel.get_by_role("button", name="Encode and decode").click()
    panel.locator("#facts table").wait_for()
    facts = panel.locator("#facts").inner_text()
    assert f"{codec.bits_per_second:.0f} bit/s" in facts and "58.3" in facts
    made = block(panel, "Decoded from its words").locator("audio")
    whole = load_audio(DEMO / "queries/query6.flac")
    assert abs(samples(made) - codec.decode(codec.encode(whole))[0].numpy()).max() < 1e-3
    assert seconds(block(panel, "Original").locator("audio")) == pytest.approx(len(whole) / 16_000, abs=0.01)
    panel.get_by_role("button", name="Try it with").click()
    other = codec.encode(load_audio(DEMO / "queries/query2.flac"))
    panel.locator("#facts", has_text=f"{len(other.layers[2].unique())} fine").wait_for()
    checked(page, "Codec")


def test_a_clip_beyond_the_limits_is_refused(page, tmp_path):
    long = tmp_path / "long.wav"
    soundfile.write(long, [0.1] * 16_000 * 21, 16_000)
    panel = opened(page, "Codec")
    block(panel, "Clip").get_by_role("button", name="Clear").click()
    upload(panel, "Clip", long)
    panel.get_by_role("button", name="Encode and decode").click()
    refused(page, "long.wav: lasts 21.0 s; at most 20 s are allowed")


def test_no_other_file_is_read(page, address):
    for path in ("/etc/passwd", __file__, "https://example.com/", "../../etc/passwd"):
        answer = page.request.get(f"{address}/gradio_api/file={path}")
        assert answer.status in (403, 404), path
