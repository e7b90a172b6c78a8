"""The program as a whole: help, version, errors as one line, memory."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

import llmcodec
from llmcodec.cli import app

COMMANDS = ["encode", "decode", "words", "classify", "train", "models", "demo", "eval"]
CODE = """
import sys
from llmcodec.cli import app
app(sys.argv[1:], standalone_mode=False)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(int(status["VmHWM"].split()[0]) / 1024)
"""


def python(*arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(llmcodec.__file__).parents[1])}
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("arguments", [[], *([command] for command in COMMANDS)])
def test_help_names_every_command_and_option(arguments):
    result = CliRunner().invoke(app, [*arguments, "--help"])
    assert result.exit_code == 0 and "Usage: " in result.stdout
    assert arguments or all(command in result.stdout for command in COMMANDS)


def test_version():
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0 and result.stdout == f"llmcodec {llmcodec.__version__}\n"


def test_help_and_package_import_nothing_heavy():
    code = (
        "import sys, llmcodec, llmcodec.cli\n"
        "try: llmcodec.cli.app(['--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'numpy', 'transformers', 'sklearn') if name in sys.modules])"
    )
    result = python("-c", code)
    assert result.stdout.endswith("[]\n"), result.stderr


def test_the_package_has_its_public_names():
    assert all(getattr(llmcodec, name) is not None for name in llmcodec.__all__)
    assert set(llmcodec.__all__) <= set(dir(llmcodec))
    assert llmcodec.LLMCodec.__module__ == "llmcodec.codec.model"
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = llmcodec.nonsense


@pytest.mark.parametrize(
    "arguments",
    [["sing"], ["encode"], ["encode", "a.wav"], ["words", "a.wav", "--colour"], ["words", "a", "--seconds", "0"]],
)
def test_wrong_usage_ends_with_code_2(arguments):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2 and result.stdout == ""


def test_ctrl_c_ends_with_code_130(run, clip, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("llmcodec.cli.words.load_codec", interrupt)
    result = run("words", clip)
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "error: interrupted\n")


def test_an_error_of_the_operating_system_is_one_line(run, refused, clip, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "some/file")

    monkeypatch.setattr("llmcodec.cli.words.load_codec", full)
    refused(run("words", clip), "some/file: No space left on device")


def test_a_codec_that_is_not_there_is_one_line(run, refused, clip, tmp_path):
    refused(run("words", clip, codec=tmp_path), "not a codec checkpoint")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_an_hour_takes_no_more_memory_than_a_minute(codec_folder, tmp_path):
    peaks = {}
    for name, minutes in (("minute", 1), ("hour", 60)):
        random = np.random.default_rng(0)
        with soundfile.SoundFile(tmp_path / f"{name}.wav", "w", 8000, 1, "PCM_16") as file:
            for _ in range(minutes):
                file.write(random.normal(0, 0.1, 60 * 8000).astype(np.float32))
        out = tmp_path / f"{name}.safetensors"
        result = python(
            "-c", CODE, "encode", tmp_path / f"{name}.wav", "-o", out, "--codec", codec_folder, "--threads", 1
        )
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith(f"{out}: {60 * minutes}.00 s, ")
        peaks[name] = float(result.stdout.splitlines()[-1])
    assert peaks["hour"] < peaks["minute"] + 300
