"""What the codec hears in its own decoding: the text that was asked for, or another demonstrated one?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from llmcodec.codec import AudioCodes, LLMCodec

SHARPNESS = 30.0  # of likeness, which seldom differs by more than a tenth


class Ear:
    """Tells demonstrated texts apart by what the first layer of the codec listens for.

    A sound and a demonstration are as like as their queries are along the best alignment in time (dynamic time warping,
    mean cosine); a text is as like as its demonstrations are on average. Both are heard as the codec decodes them.
    """

    def __init__(self, codec: LLMCodec, texts: Sequence[str], recordings: Sequence[AudioCodes]) -> None:
        self.codec, self._texts = codec, np.array(texts)
        self._known = [self._queries(codes) for codes in recordings]

    def surely(self, codes: AudioCodes, text: str) -> float:
        """Log-probability that a clip says `text`, one of those demonstrated, and none of the others."""
        queries = self._queries(codes)
        like = np.array([alignment(queries, known) for known in self._known])
        scores = {
            one: SHARPNESS * float(like[self._texts == one].mean()) for one in dict.fromkeys(self._texts.tolist())
        }
        return scores[text] - float(np.logaddexp.reduce(list(scores.values())))

    def _queries(self, codes: AudioCodes) -> Tensor:
        return self.codec.queries(self.codec.decode(codes)[0])


def alignment(one: Tensor, other: Tensor) -> float:
    """Unit vectors [n, d], [m, d] -> mean cosine along the path of dynamic time warping, each pair on the diagonal
    counted twice (Sakoe & Chiba 1978, symmetric form): -1..1."""
    cost: npt.NDArray[np.float32] = (1 - one @ other.T).numpy()
    rows, columns = cost.shape
    best = np.full((rows + 1, columns + 1), np.inf)
    best[0, 0] = 0
    for place in range(2, rows + columns + 1):  # all cells of an antidiagonal at once
        i = np.arange(max(1, place - columns), min(rows, place - 1) + 1)
        j, here = place - i, cost[i - 1, place - i - 1]
        best[i, j] = np.minimum(best[i - 1, j - 1] + 2 * here, np.minimum(best[i - 1, j], best[i, j - 1]) + here)
    return 1 - float(best[rows, columns]) / (rows + columns)
