from pathlib import Path
from typing import Any

import pytest
import yaml

from llmcodec.errors import ConfigError
from llmcodec.prompting import TaskTemplate, load_template, template_names

GOOD: dict[str, Any] = {
    "name": "mine",
    "description": "a task",
    "instruction": "One of {labels}.\n",
    "demonstration": "In:{words}\nOut: {label}\n",
    "query": "In:{words}\nOut:",
    "layers": ["semantic"],
}


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "mine.yaml"
    content = {field: value for field, value in {**GOOD, **changes}.items() if value is not None}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def test_the_package_carries_its_templates() -> None:
    assert template_names() == ["digit", "emotion", "keyword", "paper", "sound"]
    for name in template_names():
        template = load_template(name)
        assert template.name == name and template.origin == f"{name}.yaml"
        assert set(template.layers) <= {"semantic", "coarse", "fine"}


@pytest.mark.parametrize("suffix", [".yaml", ".yml"])
def test_a_template_is_the_sum_of_its_segments(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path).rename(tmp_path / f"other{suffix}")
    template = load_template(path)
    assert template.origin == str(path)
    segments = [template.head, "{words}", template.lead, template.label_space, "{label}", template.tail]
    assert "".join(segments) == template.demonstration
    assert template.query == f"{template.query_head}{{words}}{template.lead}"
    assert template.label_space == " "


def test_a_label_may_follow_a_line_break_or_nothing(tmp_path: Path) -> None:
    for lead in ("\n", "", "<", "\n\n"):
        template = load_template(write(tmp_path, demonstration=f"{{words}}{lead}{{label}}", query=f"{{words}}{lead}"))
        assert (template.lead, template.label_space) == (lead, "")


def test_the_instruction_may_be_left_out(tmp_path: Path) -> None:
    assert load_template(write(tmp_path, instruction=None)).instruction == ""


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"layer": ["semantic"]}, ["layer: unknown field", "name, description, instruction"]),
        ({"query": None}, ["query: Field required"]),
        ({"name": 3}, ["name:", "string"]),
        ({"name": ""}, ["name:", "at least 1"]),
        ({"layers": []}, ["layers:", "at least 1"]),
        ({"layers": ["semantic", "semantic"]}, ["layers:", "once"]),
        ({"layers": "semantic"}, ["layers:", "tuple"]),
        ({"demonstration": "In:\nOut: {label}\n"}, ["demonstration: must hold {words} once"]),
        ({"demonstration": "In:{words}\nOut:\n"}, ["demonstration: must hold {label} once"]),
        ({"demonstration": "{words}{words}{label}"}, ["demonstration: must hold {words} once, has it 2 times"]),
        ({"demonstration": "{label}: {words}"}, ["demonstration: {words} must come before {label}"]),
        ({"query": "In:\nOut:"}, ["query: must hold {words} once"]),
        ({"query": "In:{words}\nOut: {label}"}, ["query: unknown {label}; allowed: {words}"]),
        ({"query": "In:{words}\nOut: "}, ["query must end where the label", "'\\nOut:'", "not '\\nOut: '"]),
        ({"query": "In:{words}"}, ["query must end where the label", "not ''"]),
        ({"instruction": "One of {classes}"}, ["instruction: unknown {classes}; allowed: {labels}"]),
    ],
)
def test_a_mistake_is_told_in_one_line_with_file_field_and_what_is_allowed(
    tmp_path: Path, changes: dict[str, Any], parts: list[str]
) -> None:
    path = write(tmp_path, **changes)
    with pytest.raises(ConfigError) as caught:
        load_template(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("content", "part"),
    [(b"name: [", "line 1: no valid YAML"), (b"", "fields are name"), (b"- a", "fields are name"), (b"\xff", "UTF-8")],
)
def test_a_file_that_is_no_template_is_refused(tmp_path: Path, content: bytes, part: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=part) as caught:
        load_template(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_an_unknown_name_lists_the_known_ones_and_a_lost_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="birdsong: no such template; use digit, emotion, keyword, paper, sound or"):
        load_template("birdsong")
    with pytest.raises(ConfigError, match="gone.yaml: No such file"):
        load_template(tmp_path / "gone.yaml")


def test_templates_are_values() -> None:
    assert TaskTemplate(**GOOD) == TaskTemplate(**GOOD)
    with pytest.raises(ValueError, match="frozen"):
        TaskTemplate(**GOOD).name = "other"
