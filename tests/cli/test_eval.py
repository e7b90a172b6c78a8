import json

FEW = ["--episodes", 4, "--whisper", "none"]


def test_a_report_in_print_and_on_disk(run, demonstrations, tmp_path):
    result = run(
        "eval", demonstrations, *FEW, "--scorer", "channel", "--scorer", "direct", "--out", tmp_path / "report.json"
    )
    assert result.exit_code == 0 and "| llm, channel |" in result.stdout and "| llm, direct |" in result.stdout
    written = json.loads((tmp_path / "report.json").read_text())
    printed = json.loads(run("eval", demonstrations, *FEW, "--json", "--seed", 3, "--ways", 3).stdout)
    assert written["setup"]["episodes"] == printed["setup"]["episodes"] == 4
    assert (written["setup"]["ways"], printed["setup"]["ways"], printed["provenance"]["seed"]) == (2, 3, 3)
    run("eval", demonstrations, *FEW, "--out", tmp_path / "report.md")
    assert (tmp_path / "report.md").read_text().startswith("demonstrations: 2-way 1-shot")


def test_what_cannot_be_measured_is_refused(run, refused, demonstrations, tmp_path):
    report = tmp_path / "report.md"
    refused(run("eval", demonstrations, *FEW, "--out", tmp_path / "report.doc"), ".json or .md")
    refused(run("eval", demonstrations, *FEW, "--ways", 9, "--out", report), "9 ways need as many labels")
    refused(run("eval", demonstrations, *FEW, "--shots", 3, "--out", report), "too few clips")
    refused(run("eval", demonstrations, *FEW, "--group-by", "moon", "--out", report), "no column 'moon' to group by")
    refused(run("eval", tmp_path / "none", *FEW), "none")
    assert not report.exists()
    report.write_text("mine")
    refused(run("eval", demonstrations, *FEW, "--out", report), "exists already; --force")
    assert report.read_text() == "mine"
