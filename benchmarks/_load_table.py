"""The table of benchmarks/load.py."""

from __future__ import annotations

from statistics import median
from typing import Any

from _common import table


def load_table(content: dict[str, Any]) -> str:
    lines = []
    for row in content["rows"]:
        times = [f"{1000 * row[key]:.0f} ms" if row[key] is not None else "-" for key in ("median_s", "p95_s")]
        others = sum(count for status, count in row["statuses"].items() if status not in ("200", "429"))
        lines.append([row["kind"], row["statuses"].get("200", 0), row["statuses"].get("429", 0), others, *times])
    early, late = flat(content["memory_mb"])
    slow_clients = ", ".join(f"{outcome} {count}" for outcome, count in sorted(content["slow"].items())) or "none"
    note = (
        f"{content['clients']} clients for {content['seconds']:g} s, {content['workers']} workers, queue of "
        f"{content['queue']}: {content['done_a_second']} requests done a second, {sum(content['lost'].values())} of "
        f"{content['requests']} without an answer, {content['wrong']} wrong. Requests abandoned in the middle: "
        f"{content['gone']}. Slow requests ({content['slow_clients']} clients): {slow_clients}. Memory: {early:.0f} MB "
        f"in the first minute, {late:.0f} MB at the end, peak {content['peak_mb']:.0f} MB. Temporary folders left: "
        f"{content['folders_left']}."
    )
    head = ["request", "200", "429", "other", "median of 200", "95 %"]
    return "\n".join([table(head, lines), "", note])


def flat(memory: dict[str, float]) -> tuple[float, float]:
    """Median of the memory in the second half of the first minute, and in the last half minute."""
    seconds = {int(second): size for second, size in memory.items()}
    last = max(seconds)
    early = [size for second, size in seconds.items() if 30 <= second < 60] or list(seconds.values())
    return median(early), median(size for second, size in seconds.items() if second >= last - 30)
