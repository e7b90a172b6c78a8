"""What a few-shot evaluation found, as JSON and as Markdown."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One method. `low`, `high`: 95 % Wilson interval, None where the accuracy is exact.

    ece, log_loss: calibration error and mean negative log-probability of the right label, of methods that give
    probabilities.
    """

    method: str
    accuracy: float
    low: float | None
    high: float | None
    n: int
    seconds: float
    ece: float | None = None
    log_loss: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Two methods on the same queries: how often only one of them was right, and McNemar's exact p."""

    method: str
    other: str
    only_method: int
    only_other: int
    p: float


@dataclass(frozen=True)
class Answer:
    """What the methods said to one query: `file` and `label` are its own, `choices` the classes to choose from.

    said: the answer of each method; sure: its probability, of the methods that give one.
    """

    episode: int
    file: str
    label: str
    choices: tuple[str, ...]
    said: dict[str, str]
    sure: dict[str, float]


@dataclass(frozen=True)
class Report:
    """Accuracies of all methods on the same episodes, and the scorers against each other and the nearest neighbours.

    setup: data, classes, clips, ways, shots, episodes, queries, group_by, template, layers, llm, codec, whisper.
    notes: what is missing and why. provenance: machine, date, commit, seed, threads, versions. answers: query by query.
    """

    setup: dict[str, Any]
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...]
    provenance: dict[str, Any]
    answers: tuple[Answer, ...]

    def to_dict(self, answers: bool = True) -> dict[str, Any]:
        """As JSON holds it; with or without the answers, most of its length."""
        content = asdict(self)
        return content if answers else {name: value for name, value in content.items() if name != "answers"}

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)

    def to_markdown(self) -> str:
        s = self.setup
        lines = [
            f"{s['data']}: {s['ways']}-way {s['shots']}-shot, {s['episodes']} episodes, {s['queries']} per episode, "
            f"split by {s['group_by']}; words: {' + '.join(s['layers'])}; llm: {s['llm'] or 'none'}",
            "",
            "| method | accuracy | 95 % interval | n | calibration error | log loss |",
            "|---|---|---|---|---|---|",
        ]
        for row in self.rows:
            between = "exact" if row.low is None or row.high is None else f"{100 * row.low:.1f} - {100 * row.high:.1f}"
            sure = "" if row.ece is None else f"{row.ece:.3f}"
            loss = "" if row.log_loss is None else f"{row.log_loss:.3f}"
            lines.append(f"| {row.method} | {100 * row.accuracy:.1f} % | {between} | {row.n} | {sure} | {loss} |")
        for pair in self.comparisons:
            lines.append(
                f"\nOnly {pair.method} was right {pair.only_method} times, only {pair.other} {pair.only_other} times: "
                f"p = {pair.p:.2g} (McNemar, exact)."
            )
        return "\n".join([*lines, *(f"\n{note}" for note in self.notes)])
