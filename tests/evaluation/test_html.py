"""The report, also as a browser shows it (Chromium, where it is installed)."""

import re
import shutil

import pytest

from llmcodec.evaluation import FewShotEvaluation, draw_episodes, read_labelled
from llmcodec.evaluation.html import to_html
from llmcodec.llm import FakeLLM


@pytest.fixture
def page(sounds, codec):
    """A report of two settings: the page, and the reports."""
    bench = FewShotEvaluation(read_labelled(sounds), codec, FakeLLM(), scorers=["knn", "direct"], whisper=None)
    sets = [draw_episodes(bench.folder, ways, 1, 12, 0) for ways in (2, 3)]
    reports = [bench.run(episodes) for episodes in sets]
    return to_html(bench, sets, reports), reports


def test_the_page_says_what_the_reports_say(page):
    html, reports = page
    for report in reports:
        for row in report.rows:
            assert f"{100 * row.accuracy:.1f}" in html and row.method in html
        counts = re.search(r'class="confusion">(.*?)</table>', html, re.S)
        assert counts
    found = [sum(map(int, re.findall(r">(\d+)</td>", part))) for part in html.split('class="confusion"')[1:]]
    assert found[0] >= 12 and len(found) == 2
    assert "<mark" in html and html.count("data:audio/mpeg;base64,") >= 6
    assert "http://" not in html and "https://" not in html


def test_labels_cannot_break_the_page(sounds, codec, tmp_path):
    shutil.copytree(sounds, tmp_path / "odd")
    table = tmp_path / "odd" / "metadata.csv"
    first = read_labelled(sounds).classes[0]
    table.write_text(table.read_text().replace(f",{first}", ",<script>alert(1)</script>"))
    bench = FewShotEvaluation(read_labelled(tmp_path / "odd"), codec, scorers=(), whisper=None)
    episodes = draw_episodes(bench.folder, 2, 1, 6, 0)
    html = to_html(bench, [episodes], [bench.run(episodes)])
    assert "<script" not in html and "&lt;script&gt;" in html
    assert "Is it as sure" not in html and "<mark" not in html


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_fits_a_browser(page, browser, tmp_path, width):
    html, reports = page
    (tmp_path / "report.html").write_text(html, encoding="utf-8")
    tab = browser.new_page(viewport={"width": width, "height": 900})
    complaints: list[str] = []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto((tmp_path / "report.html").as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.locator("svg").count() == 2 + 2 and tab.locator("table.confusion").count() == 2
    assert tab.locator("#settings tbody tr").count() == len(reports[0].rows)
    for place in range(tab.locator("svg").count()):
        box = tab.locator("svg").nth(place).bounding_box()
        assert box and box["width"] > 250 and box["x"] >= 0 and box["x"] + box["width"] <= width
    seconds = tab.evaluate(
        """async () => { const player = document.querySelector("audio"); player.preload = "auto"; player.load();
        await new Promise((resolve, fail) => { player.onloadedmetadata = resolve; player.onerror = fail; });
        return player.duration; }"""
    )
    assert any(seconds == pytest.approx(clip, abs=1e-3) for clip in (0.4, 0.5, 0.6, 0.7))  # as long as one of them
    tab.screenshot(path=tmp_path / f"{width}.png", full_page=True)
    tab.close()
    assert complaints == []
