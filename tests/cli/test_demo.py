from llmcodec.audio import load_audio


def test_the_demo_names_and_decodes_every_query_and_can_be_repeated(run, demo_table, tmp_path):
    out = tmp_path / "new" / "demo"
    for _ in range(2):
        result = run("demo", "--out", out)
        assert result.exit_code == 0 and result.stderr == ""
    for file, label in demo_table.items():
        assert f"{file.name}  heard: " in result.stdout
        assert len(load_audio(out / f"{file.stem}.wav")) == len(load_audio(file))
        assert label in result.stdout
    assert len(list(out.iterdir())) == len(demo_table)
    right = result.stdout.count("(right)")
    assert f"{right} of 8 right; 25% would be chance." in result.stdout
    assert result.stdout.splitlines()[-1].endswith(f"{out}/*.wav")


def test_a_demo_that_cannot_be_written_is_refused(run, refused, tmp_path):
    (tmp_path / "file").write_text("")
    refused(run("demo", "--out", tmp_path / "file"), "file: File exists")
