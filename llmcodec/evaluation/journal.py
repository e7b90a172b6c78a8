"""What a language model said so far, in a file, so that an interrupted evaluation goes on where it was."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from llmcodec.errors import ConfigError
from llmcodec.evaluation.baselines import Floats, Predictor
from llmcodec.evaluation.episodes import Episode


class Journal:
    """A JSON Lines file: what is being evaluated, then the scores of each method on each episode.

    asked: everything that the scores depend on. ConfigError when the file is of something else, or no such file.
    """

    def __init__(self, path: Path, asked: Any) -> None:
        self.path = path
        digest = sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        self.known: dict[tuple[str, int], Floats] = {}
        if not path.exists():
            path.write_text(json.dumps({"evaluation": digest}) + "\n", encoding="utf-8")
            return
        first, *lines = path.read_text(encoding="utf-8").split("\n")
        if first != json.dumps({"evaluation": digest}):
            raise ConfigError(f"{path}: is of another evaluation; give another file or remove it")
        whole = [line for line in lines if line.endswith("}")]  # the last one may have been cut
        for row in map(json.loads, whole):
            self.known[row["method"], row["episode"]] = np.array(row["scores"])
        path.write_text("\n".join([first, *whole, ""]), encoding="utf-8")

    def kept(self, method: str, predictor: Predictor) -> Predictor:
        """`predictor`, for episodes in their order, that is only asked what is not in the file."""
        number = -1

        def scores(episode: Episode) -> Floats:
            nonlocal number
            number += 1
            if (method, number) not in self.known:
                found = predictor(episode)
                row = {"method": method, "episode": number, "scores": found.tolist()}
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
                return found
            return self.known[method, number]

        return scores
