#!/usr/bin/env python3
"""Do the semantic words of a clip say what is heard? Words against the clip's own label and against the other labels.

    LLMCODEC_MODELS=MODELS benchmarks/relevance.py --data FOLDER [FOLDER ...]

A folder is a labelled one, as for fewshot.py. Words and labels meet as embeddings of --text-model, each centred; a clip
is the mean of its words. The relevance of a clip is the share of the folder's other labels that its words are less like
than its own: 0.5 if words say nothing. `exchanged`: the same with the codec's words exchanged among themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import _common
import torch
from torch import Tensor

from llmcodec.evaluation.dataset import read_labelled
from llmcodec.evaluation.fewshot import encode_clips
from llmcodec.evaluation.metrics import bootstrap
from llmcodec.evaluation.provenance import provenance
from llmcodec.models import locate
from llmcodec.teachers import TextTeacher


def main(argv: Sequence[str] | None = None) -> int:
    parser = _common.parser(__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--text-model", default="sentence-transformers/all-MiniLM-L6-v2")
    arguments = parser.parse_args(argv)
    _common.set_threads(arguments)
    codec, named = _common.load_codec(arguments.codec, decodes=False)
    teacher = TextTeacher(locate(arguments.text_model))
    words = centred(teacher.embed(codec.vocabularies[0].words))
    exchanged = words[torch.randperm(len(words), generator=torch.Generator().manual_seed(arguments.seed))]
    rows = []
    with _common.progress() as tell:
        for data in arguments.data:
            folder = read_labelled(data)
            name = data.resolve().name
            codes = encode_clips(folder, codec, range(len(folder)), partial(tell, name))
            heard = [codes[clip].layers[0][0] for clip in range(len(folder))]
            labels = centred(teacher.embed([label.replace("_", " ") for label in folder.classes]))
            own = torch.tensor([folder.classes.index(label) for label in folder.labels])
            for method, table in (("words", words), ("exchanged", exchanged)):
                shares = relevance(torch.stack([table[row].mean(0) for row in heard]), labels, own)
                found = bootstrap(shares.numpy(), arguments.seed)
                rows.append({"data": name, "method": method, **vars(found)})
    content = {"codec": named, "text_model": _common.codec_name(arguments.text_model), "rows": rows}
    lines = [[r["data"], r["method"], *(f"{r[key]:.3f}" for key in ("value", "low", "high")), r["n"]] for r in rows]
    head = ["data", "words", "relevance", "low", "high", "clips"]
    _common.report(arguments, {**content, "provenance": provenance(arguments.seed)}, _common.table(head, lines))
    return 0


def centred(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows - rows.mean(0), dim=-1)


def relevance(clips: Tensor, labels: Tensor, own: Tensor) -> Tensor:
    """Embeddings of clips [N, e] and labels [C, e], each clip's label [N] -> share of other labels that are further."""
    likeness = clips @ labels.T
    mine = likeness.gather(1, own[:, None])
    return ((likeness < mine).sum(1) / (len(labels) - 1)).double()


if __name__ == "__main__":
    _common.run(main)
