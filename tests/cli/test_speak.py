import csv
import json

import pytest
import soundfile

from llmcodec.generation import thinking


@pytest.fixture
def pairs(tmp_path, sound):
    """A table of two pairs, and a noisy clip."""
    with open(tmp_path / "pairs.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["noisy", "clean"])
        for n in range(2):
            for kind, wave in (("noisy", sound(9000, n) + 0.2 * sound(9000, 9)), ("clean", sound(9000, n))):
                soundfile.write(tmp_path / f"{kind}{n}.wav", wave.clamp(-1, 1).numpy(), 16_000)
            table.writerow([f"noisy{n}.wav", f"clean{n}.wav"])
    return tmp_path / "pairs.csv"


def test_a_demonstrated_text_is_spoken(run, demonstrations, tmp_path):
    out = tmp_path / "out.wav"
    result = run("speak", "bass tabla", "--demos", demonstrations, "-o", out, "--json", "--candidates", 2, "--seed", 3)
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["said"] == ["bass", "tabla"] and len(found["scores"]) == 2 and found["chances"] is None
    assert found["seconds"] == pytest.approx(soundfile.info(out).duration)
    assert found["tokens"] == sum(map(len, found["words"].values())) and found["likelihood"] < 0
    again = tmp_path / "again.wav"
    run("speak", "bass tabla", "--demos", demonstrations, "-o", again, "--candidates", 2, "--seed", 3)
    assert out.read_bytes() == again.read_bytes()


def test_a_table_of_texts_and_a_question(run, demonstrations, tmp_path, monkeypatch):
    monkeypatch.setattr(thinking, "DOUBT", 0.0)
    rows = [f"{file},{file.parent.name}" for file in sorted(demonstrations.glob("b*/*1.flac"))]
    (tmp_path / "table.csv").write_text("\n".join(["file,text", *rows]))
    out = tmp_path / "out.wav"
    result = run("speak", "Which is low?", "--demos", tmp_path / "table.csv", "-o", out, "--think", "--seconds", 0.2)
    assert result.exit_code == 0 and result.stdout.startswith(f"{out}: 0.20 s, b"), result.stderr
    assert soundfile.info(out).frames == 3200


@pytest.mark.parametrize(
    ("text", "options", "reason"),
    [
        ("", [], "is empty"),
        ("two plus three", [], "'two plus three' was not demonstrated"),
        ("two plus three", ["--think"], "none of the demonstrated texts"),
        ("bass", ["--seconds", "3600"], "too many for the context"),
        ("bass", ["--seconds", "-1"], "seconds: -1.0 must be above 0"),
        ("bass", ["--rerank", "best"], "rerank: 'best' is not one of"),
        ("bass", ["--template", "sing"], "no such template"),
        ("bass", ["--template", "enhance"], "enhance: input: audio must be text"),
        ("bass", ["--candidates", "2", "--temperature", "0"], "need a temperature above 0"),
    ],
)
def test_what_cannot_be_spoken_is_one_line_and_no_file(run, refused, demonstrations, tmp_path, text, options, reason):
    refused(run("speak", text, "--demos", demonstrations, "-o", tmp_path / "out.wav", *options), reason)
    assert list(tmp_path.iterdir()) == []


def test_bad_demonstrations_are_refused(run, refused, demonstrations, bad_clip, tmp_path):
    out = tmp_path / "out" / "out.wav"
    refused(run("speak", "bass", "--demos", demonstrations, "-o", out), "does not exist")
    out.parent.mkdir()
    rows = [f"{demonstrations / 'bass' / 'bass1.flac'},bass", f"{bad_clip.name},bad"]
    (tmp_path / "table.csv").write_text("\n".join(["file,text", *rows]))
    refused(run("speak", "bass", "--demos", tmp_path / "table.csv", "-o", out), bad_clip.name)
    (tmp_path / "none.csv").write_text("file,text\n")
    refused(run("speak", "bass", "--demos", tmp_path / "none.csv", "-o", out), "none.csv")
    (tmp_path / "empty").mkdir()
    refused(run("speak", "bass", "--demos", tmp_path / "empty", "-o", out), "neither metadata.csv nor sub-folders")
    assert list(out.parent.iterdir()) == []
    out.write_bytes(b"kept")
    refused(run("speak", "bass", "--demos", demonstrations, "-o", out), "--force replaces it")
    assert out.read_bytes() == b"kept"


def test_a_noisy_clip_is_enhanced(run, pairs, clip, tmp_path):
    out = tmp_path / "out.wav"
    result = run("enhance", clip, "--demos", pairs, "-o", out, "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["pairs"] == 2 and found["seconds"] == 1.5 == soundfile.info(out).duration


def test_bad_pairs_are_refused(run, refused, pairs, clip, tmp_path, sound):
    out = tmp_path / "out.wav"
    text = pairs.read_text()
    for table, reason in (
        (text.replace("clean1", "gone"), "line 3: gone.wav: no such audio file"),
        (text.replace("noisy,clean", "a,b"), "noisy"),
        ("noisy,clean\n", "pairs.csv"),
        (text.replace("clean1.wav", "clip.wav"), "line 3: noisy lasts 0.56 s and clean 1.50 s"),
    ):
        pairs.write_text(table)
        refused(run("enhance", clip, "--demos", pairs, "-o", out), reason)
    refused(run("enhance", clip, "--demos", tmp_path, "-o", out), "a CSV file with columns noisy, clean is needed")
    assert not out.exists()


def test_a_clip_that_cannot_be_read_is_not_enhanced(run, refused, pairs, bad_clip, tmp_path):
    refused(run("enhance", bad_clip, "--demos", pairs, "-o", tmp_path / "out.wav"), bad_clip.name)
    assert not (tmp_path / "out.wav").exists()
