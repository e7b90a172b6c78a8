"""Griffe: lines `name: what it is` of a docstring become a list, so that they do not run together."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

FIELD = re.compile(r"^(\w+(?:, \w+)*): (?=\S)")


class Fields(Extension):
    def on_object(self, *, obj: Object, **_: Any) -> None:
        """See griffe.Extension."""
        if obj.docstring is not None:
            obj.docstring.value = listed(obj.docstring.value)


def listed(text: str) -> str:
    """A list item for each line that names fields; lines that belong to it are indented below it."""
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        if found := FIELD.match(line):
            lines += ([] if inside else [""]) + [f"- `{found[1]}`: {line[found.end() :]}"]
            inside = True
        else:
            inside = inside and line.startswith(" ")
            lines.append(line)
    return "\n".join(lines)
