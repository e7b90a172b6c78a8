#!/usr/bin/env python3
"""Does it help that what chooses the words begins as the front of Whisper? Measured on training clips held out.

    python benchmarks/choose_listener.py recipes/words.yaml --data TRAIN --cache CACHE

Sounds of ESC-10 and spoken digits are left out, words are made of all other clips, and what chooses them learns for
--steps steps, with the recipe's `semantic.inherit` and without. Then the held-out clips are encoded: nearest neighbour
on the semantic words, recordings and speakers apart. CACHE is the folder of the recipe's feature cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import _common
from accelerate import Accelerator
from choose_teacher import accuracies, held_out, options

from llmcodec.codec import LLMCodec, WordSpace
from llmcodec.evaluation.baselines import near_word_vectors, word_vectors
from llmcodec.evaluation.provenance import provenance
from llmcodec.training.cache import LIMIT, FeatureCache
from llmcodec.training.data import CropBatches
from llmcodec.training.prepare import prepare
from llmcodec.training.recipe import Recipe
from llmcodec.training.step import Run, train_step


def main(argv: Sequence[str] | None = None) -> int:
    parser = options(__doc__)
    parser.add_argument("--steps", type=int, default=600)
    arguments = parser.parse_args(argv)
    _common.set_threads(arguments)
    recipe = Recipe.read(arguments.recipe)
    cache, parts, others = held_out(recipe, arguments)
    rows: list[dict[str, Any]] = []
    for inherit in (True, False):
        changed = recipe.model_copy(
            update={
                "semantic": recipe.semantic.model_copy(update={"inherit": inherit}),
                "prelude": recipe.prelude.model_copy(update={"steps": arguments.steps}),
            }
        )
        with _common.progress() as tell:
            codec = learned(changed, others, lambda done: tell("steps", done, arguments.steps))  # noqa: B023
        codes = {name: [codec.encode(cache.wave(n, 0, LIMIT)) for n in places] for name, (places, _) in parts.items()}
        space = WordSpace(codec, codec.layer_names[:1])
        for words, vectors in (
            ("same", {name: word_vectors(found, [0]) for name, found in codes.items()}),
            ("near", {name: near_word_vectors(found, space) for name, found in codes.items()}),
        ):
            rows.append({"inherit": inherit, "words": words, **accuracies(vectors, parts, arguments)})
    content = {"recipe": arguments.recipe.name, "steps": arguments.steps, "rows": rows}
    content |= {"provenance": provenance(arguments.seed)}
    lines = [[f"{cell:.3f}" if isinstance(cell, float) else cell for cell in row.values()] for row in rows]
    _common.report(arguments, content, _common.table(list(rows[0]), lines))
    return 0


def learned(recipe: Recipe, cache: FeatureCache, tell: Any) -> LLMCodec:
    """The codec of a recipe behind its prelude."""
    model = prepare(recipe, cache)
    run = Run(recipe, model, Accelerator(cpu=True, mixed_precision=recipe.optimiser.mixed_precision))
    crops = CropBatches(cache, recipe.data, model.codec.config, recipe.seed)
    for step in range(recipe.prelude.steps):
        train_step(run, [crops.batch(step, recipe.prelude.batch_size)], step)
        tell(step + 1)
    trained = run.to_export()
    trained.store_tables()
    return trained.codec.eval().requires_grad_(False)


if __name__ == "__main__":
    _common.run(main)
