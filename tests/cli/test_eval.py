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
    refused(run("eval", demonstrations, *FEW, "--out", tmp_path / "report.doc"), ".json, .md or .html")
    refused(run("eval", demonstrations, *FEW, "--ways", 9, "--out", report), "9 ways need as many labels")
    refused(run("eval", demonstrations, *FEW, "--shots", 3, "--out", report), "too few clips")
    refused(run("eval", demonstrations, *FEW, "--group-by", "moon", "--out", report), "no column 'moon' to group by")
    refused(run("eval", tmp_path / "none", *FEW), "none")
    assert not report.exists()
    report.write_text("mine")
    refused(run("eval", demonstrations, *FEW, "--out", report), "exists already; --force")
    assert report.read_text() == "mine"


def test_several_settings_in_one_page(run, refused, demonstrations, tmp_path):
    page = tmp_path / "report.html"
    result = run("eval", demonstrations, *FEW, "--ways", "2,3", "--json", "--out", page)
    assert [json.loads(line)["setup"]["ways"] for line in result.stdout.splitlines()] == [2, 3]
    assert "2-way 1-shot" in page.read_text() and "3-way 1-shot" in page.read_text()
    run("eval", demonstrations, *FEW, "--ways", "2,3", "--out", tmp_path / "report.json")
    assert [report["setup"]["ways"] for report in json.loads((tmp_path / "report.json").read_text())] == [2, 3]
    refused(run("eval", demonstrations, *FEW, "--ways", "two"), "--ways: 'two' must be a number")
    for option in ("--save", "--resume"):
        refused(run("eval", demonstrations, *FEW, "--ways", "2,3", option, tmp_path / "e.json"), "one setting")


def test_episodes_are_kept_and_used_again(run, refused, demonstrations, tmp_path):
    first = run("eval", demonstrations, *FEW, "--seed", 5, "--save", tmp_path / "episodes.json", "--json")
    again = run(
        "eval", demonstrations, "--whisper", "none", "--load", tmp_path / "episodes.json", "--seed", 5, "--json"
    )
    rows = [[row["accuracy"] for row in json.loads(result.stdout)["rows"]] for result in (first, again)]
    assert rows[0] == rows[1]
    refused(run("eval", demonstrations, *FEW, "--save", tmp_path / "episodes.json"), "exists")


def test_an_scp_list_needs_its_clips(run, refused, demonstrations, tmp_path):
    clips = sorted(demonstrations.rglob("*.flac"))
    labels = sorted({clip.parent.name for clip in clips})[:2]
    (tmp_path / "clips").mkdir()
    items = []
    for label in labels:
        for clip in [clip for clip in clips if clip.parent.name == label][:2]:
            name = f"{label}-{clip.name}"
            (tmp_path / "clips" / name).write_bytes(clip.read_bytes())
            items.append(f"{label}/{name}")
    scp = tmp_path / "list.scp"
    scp.write_text(f"{items[0]},{items[2]},{items[1]},\n")
    result = run("eval", scp, "--audio", tmp_path / "clips", "--whisper", "none", "--json")
    assert json.loads(result.stdout)["setup"]["episodes"] == 1
    refused(run("eval", scp, "--whisper", "none"), "--audio")
    scp.write_text(f"{items[0]},{items[2]},{items[0]},\n")
    refused(run("eval", scp, "--audio", tmp_path / "clips", "--whisper", "none"), "line 1: the query")
