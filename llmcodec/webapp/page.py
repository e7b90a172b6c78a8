"""The page of `llmcodec serve`: everything the service does, in a browser, with nothing from other hosts."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Awaitable, Callable
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI, Response

from llmcodec.webapp import classify_tab, codec_tab, enhance_tab, speak_tab, words_tab
from llmcodec.webapp.parts import Examples
from llmcodec.webapp.service import Service

TITLE = "llmcodec: audio as words"
TABS = {
    "Classify": classify_tab.build,
    "Words": words_tab.build,
    "Speak": speak_tab.build,
    "Enhance": enhance_tab.build,
    "Codec": codec_tab.build,
}
FETCH = "async_move_resource_to_block_cache"  # what takes a file in, of every part of a page
KEPT = 3600  # seconds that uploads and results stay on disk


def build_page(service: Service) -> gr.Blocks:
    """The page, to be mounted by `mount_page`. What is uploaded and made goes to a temporary folder of its own."""
    folder = tempfile.TemporaryDirectory(prefix="llmcodec-page-", ignore_cleanup_errors=True)
    os.environ["GRADIO_TEMP_DIR"] = str(Path(folder.name) / "cache")  # read as the page is built and mounted
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    examples = Examples(Path(folder.name) / "examples")
    with gr.Blocks(title=TITLE, delete_cache=(KEPT, KEPT)) as page:
        gr.Markdown(
            f"# Audio as words\nA codec turns sound into words; a frozen language model reads them. "
            f"Codec of {service.codec.tokens_per_second:.0f} words a second, language model {service.llm.name}."
        )
        for name, build in TABS.items():
            with gr.Tab(name):
                build(service, examples)
    for block in page.blocks.values():
        vars(block)[FETCH] = partial(_from_here, getattr(block, FETCH))
    weakref.finalize(page, folder.cleanup)
    limits = service.limits
    return page.queue(default_concurrency_limit=limits.workers, max_size=limits.workers + limits.queue, api_open=False)


def mount_page(app: FastAPI, service: Service, path: str = "/") -> FastAPI:
    """`app` with the page at `path`: no files but its own, uploads within the limits, fonts of the system."""
    app.add_api_route(f"{path.rstrip('/')}/gradio_api/file=http{{address:path}}", _refuse, include_in_schema=False)
    return gr.mount_gradio_app(
        app,
        build_page(service),
        path,
        allowed_paths=[],
        max_file_size=service.limits.upload_bytes,
        theme=gr.themes.Default(
            primary_hue="teal", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
        ),
        css=(resources.files("llmcodec") / "data" / "page.css").read_text(encoding="utf-8"),
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        show_error=True,
    )


async def _from_here(move: Callable[[Any], Awaitable[str | None]], source: Any) -> str | None:
    """Gradio would fetch a file that a request names by its address."""
    if str(source).lower().startswith(("http:", "https:")):
        raise gr.Error("only files that were uploaded are taken", print_exception=False)
    return await move(source)


def _refuse(address: str) -> Response:
    """Gradio would fetch what is at that address and pass it on."""
    return Response(f"http{address}: only files of this page are served", 403, media_type="text/plain")
