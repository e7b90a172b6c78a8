"""`export`: the codec as ONNX graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmcodec.cli.common import CodecOption, load_codec


def export(
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="New folder: encoder.onnx, decoder.onnx and words.")],
    codec: CodecOption = None,
) -> None:
    """Export a codec to ONNX: waveform to codes, and codes to waveform, for clips and batches of any length."""
    from llmcodec.codec.onnx import export_onnx

    model = load_codec(codec)
    export_onnx(model, out)
    typer.echo(f"{out}: clips of {model.sample_rate} Hz, padded to a multiple of {model.config.unit_samples} samples")
