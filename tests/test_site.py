"""The documentation site builds without a warning and needs nothing from elsewhere to be read."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings_handlers.python")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return out


def test_every_page_is_reached_and_loads_nothing_from_elsewhere(site):
    home = (site / "index.html").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        place = "." if page.stem == "index" else f"{page.stem}/"
        assert f'href="{place}"' in home, f"{page.name} is not in the nav of mkdocs.yml"
    for file in site.rglob("*.html"):
        assert not re.search(r'<(?:script|img|link rel="stylesheet")[^>]*="https?://', file.read_text(encoding="utf-8"))


def test_results_and_the_reference_are_in_it(site):
    assert (site / "files" / "benchmarks" / "results" / "speed.json").is_file()
    assert "../files/benchmarks/results/speed.json" in (site / "benchmarks" / "index.html").read_text(encoding="utf-8")
    reference = (site / "reference" / "index.html").read_text(encoding="utf-8")
    assert (
        'id="llmcodec.codec.LLMCodec.encode"' in reference and "<code>vocabularies</code>: one per layer" in reference
    )
