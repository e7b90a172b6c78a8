"""Every example in the README and in docs/ runs: Python as it stands, commands through the command line's own parser.

A block that cannot run here stands behind `<!-- not run: REASON -->`; its llmcodec commands must still parse.
"""

import glob
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import soundfile
import torch
import yaml
from stand_ins import save_llama, save_text_model, save_whisper
from typer.main import get_command
from typer.testing import CliRunner

from llmcodec.audio import load_audio
from llmcodec.cli import app

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "llmcodec" / "data" / "demo"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>.*) -->\n)?"
    r"^(?P<indent> *)```(?P<language>bash|python)\n(?P<text>(?s:.*?))^(?P=indent)```$",
    re.MULTILINE,
)
# What makes a command short; all else of it is as the page says.
SHORT = {
    "export": ["--codec", "tiny-codec"],
    "eval": ["--episodes", "2"],
    "harness": ["--episodes", "2"],
    "tune": ["--steps", "1", "--episodes", "2", "--tokens", "256", "--ways", "2", "--shots", "1"],
}
SHORT_RECIPE = {"steps": 1, "batch_size": 2, "warmup_steps": 1}
CLIPS = ("clip", "query", "dog1", "dog2", "rain1", "rain2", "one", "two", "clean", "noisy", "long")
LABELS = ("bass", "beat", "cymbal", "tabla")


@dataclass(frozen=True)
class Block:
    line: int
    language: str
    text: str
    reason: str | None


def blocks(page):
    text = page.read_text(encoding="utf-8")
    found = []
    for match in BLOCK.finditer(text):
        inside = re.sub(rf"^{match['indent']}", "", match["text"], flags=re.MULTILINE)
        found.append(Block(text[: match.start("text")].count("\n") + 1, match["language"], inside, match["reason"]))
    assert len(found) == len(re.findall(r"^ *```(?:bash|python)", text, re.MULTILINE)), f"{page}: a block without end"
    return found


def commands(block):
    """The words of every command of a bash block."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def llmcodec_arguments(words):
    """What stands behind `llmcodec`, also behind `accelerate launch -m llmcodec` and the like; None without it."""
    return words[words.index("llmcodec") + 1 :] if "llmcodec" in words else None


@pytest.fixture(scope="session")
def materials(tmp_path_factory, tiny_codec):
    """A folder that holds what the pages name: clips, labelled folders, pairs, recipes, models."""
    root = tmp_path_factory.mktemp("materials")
    clips = {label: load_audio(DEMO / "demonstrations" / label / f"{label}1.flac")[:24_000] for label in LABELS}

    def write(name, wave):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / name, wave.numpy(), 16_000)

    for number, name in enumerate(CLIPS):
        write(f"{name}.wav", clips[LABELS[number % 4]])
    (root / "pairs.csv").write_text("noisy,clean\nnoisy.wav,clean.wav\n")
    kinds = {**clips, **{f"{label} backwards": wave.flip(0) for label, wave in clips.items()}}
    for folder, names, count in (
        ("CLIPS", kinds, 6), ("OTHERS", kinds, 2), ("DEMOS", LABELS, 2), ("digits", ("one", "two", "five"), 2),
    ):  # fmt: skip
        for wave, name in zip(kinds.values(), names, strict=False):
            for number in range(count):
                noise = torch.randn(len(wave), generator=torch.Generator().manual_seed(number))
                write(f"{folder}/{name}/{number}.wav", 0.9 * wave + 0.01 * noise)
    rows = [f"{name}/0.wav,{kind},{name}" for name, kind in zip(kinds, 3 * ("speech", "sound", "music"), strict=False)]
    shutil.copytree(root / "CLIPS", root / "AUDIO")
    (root / "AUDIO" / "metadata.csv").write_text("\n".join(["file_name,kind,text", *rows]))
    tiny_codec.save_checkpoint(root / "tiny-codec")
    shutil.copytree(ROOT / "recipes", root / "recipes")
    for recipe in (root / "recipes").iterdir():
        content = yaml.safe_load(recipe.read_text(encoding="utf-8"))
        recipe.write_text(yaml.safe_dump(content | {"optimiser": content["optimiser"] | SHORT_RECIPE}))
    save_whisper(root / "openai" / "whisper-base", layers=3)
    save_text_model("bert", root / "sentence-transformers" / "all-MiniLM-L6-v2")
    from transformers import AutoTokenizer

    from llmcodec.llm.sources import DEFAULT_LLM, resolve_llm

    tokenizer = AutoTokenizer.from_pretrained(resolve_llm(DEFAULT_LLM))
    for name in (DEFAULT_LLM, "Qwen/Qwen2.5-0.5B"):
        save_llama(root / name, tokenizer, 8192)
    return root


@pytest.fixture
def workplace(materials, tmp_path, monkeypatch):
    """A copy of the materials to work in; the names of models on the hub are folders in it."""
    place = tmp_path / "work"
    shutil.copytree(materials, place)
    monkeypatch.chdir(place)
    monkeypatch.delenv("LLMCODEC_MODELS", raising=False)
    monkeypatch.delenv("LLMCODEC_LLM", raising=False)
    return place


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_the_examples_of_a_page_run_from_top_to_bottom(page, workplace, monkeypatch):
    names = {"__name__": "page"}
    for block in blocks(page):
        if block.reason is not None:
            check_unrun(block)
        elif block.language == "python":
            behind = "\n" * (block.line - 1)  # so that a traceback names the line of the page
            exec(compile(behind + block.text, page, "exec", dont_inherit=True), names)
        else:
            for words in commands(block):
                run(words, f"{page.name}:{block.line}", monkeypatch)


def check_unrun(block):
    assert len(block.reason) > 10, f"line {block.line}: a block that is not run needs a reason"
    if block.language == "python":
        compile(block.text, "page", "exec")
        return
    for words in commands(block):
        if (arguments := llmcodec_arguments(words)) is not None:
            parse(arguments)


def parse(arguments):
    """KeyError for a command that does not exist, UsageError for an option."""
    command, name, rest = get_command(app), "llmcodec", list(arguments)
    while hasattr(command, "commands"):
        name, *rest = rest
        command = command.commands[name]
    command.make_context(name, rest)


def run(words, where, monkeypatch):
    with monkeypatch.context() as environment:
        while re.fullmatch(r"[A-Z_]+=.*", words[0]):
            environment.setenv(*words.pop(0).split("=", 1))
        program, *arguments = words
        if program == "llmcodec":
            found = [name for word in arguments for name in (sorted(glob.glob(word)) or [word])]
            result = CliRunner().invoke(app, [*found, *SHORT.get(arguments[0], [])])
            assert result.exit_code == 0, f"{where}: {shlex.join(words)}\n{result.output}\n{result.exception!r}"
        elif program == "cp":
            shutil.copy(*arguments)
        elif words[:2] == ["pip", "install"]:
            asked = re.fullmatch(r"(?:llmcodec|\.)(?:\[(.*)\])?", arguments[-1])
            extras = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
            assert asked and set((asked[1] or "dev").split(",")) <= set(extras), f"{where}: no such extra"
        else:
            pytest.fail(f"{where}: {program} cannot be run here: put <!-- not run: REASON --> above the block")


def test_the_notebook_runs_and_is_kept_without_outputs(workplace):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    (path,) = (ROOT / "notebooks").glob("*.ipynb")
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in cells)
    nbclient.NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(workplace)}}).execute()
    assert all(cell.execution_count for cell in cells) and "reversed" in cells[-1].source


def test_what_is_not_run_is_the_exception():
    found = [block for page in PAGES for block in blocks(page)]
    assert sum(block.reason is not None for block in found) <= len(found) / 3


def test_a_command_that_does_not_exist_is_noticed():
    with pytest.raises(Exception, match="No such option: --wave"):
        parse(["eval", "FOLDER", "--wave", "2"])
    with pytest.raises(KeyError, match="sing"):
        parse(["sing"])
