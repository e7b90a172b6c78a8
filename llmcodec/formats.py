"""Files of llmcodec name their format, `llmcodec-KIND-NUMBER`. A higher number: older versions cannot read them."""

from __future__ import annotations

import re


def fault(found: object, known: str) -> str | None:
    """What is wrong with a file whose format is `found` for a reader of `known`; None: nothing."""
    if found == known:
        return None
    kind, _, number = known.rpartition("-")
    newer = re.fullmatch(rf"{kind}-(\d{{1,9}})", found) if isinstance(found, str) else None
    if newer and int(newer[1]) > int(number):
        return f"written by a newer llmcodec: its format is {found}, and this version reads {known}; update llmcodec"
    return f"must have the format {known!r}"
