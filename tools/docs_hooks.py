"""MkDocs: what a page links to outside of docs/ (`../benchmarks/results/speed.json`) becomes part of the site."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

LINK = re.compile(r"\]\(\.\./([\w./-]+)")


def on_files(files: Files, *, config: Any) -> Files:
    root = Path(config.config_file_path).parent
    pages = [file.content_string for file in files.documentation_pages()]
    for target in sorted({found for page in pages for found in LINK.findall(page)}):
        files.append(File.generated(config, f"files/{target}", abs_src_path=str(root / target)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    return LINK.sub(r"](files/\1", markdown)
