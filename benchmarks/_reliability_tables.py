"""The tables of docs/reliability.md and docs/scale.md."""

from __future__ import annotations

from typing import Any

from _common import table


def fuzz_table(content: dict[str, Any]) -> str:
    rows = [
        [
            row["target"], f"{row['inputs']:,}", f"{row['read']:,}", f"{sum(row['refused'].values()):,}",
            row["defects"], f"{row['slowest_s']:.2f}", row["peak_mb"],
        ]
        for row in content["rows"]
    ]  # fmt: skip
    head = ["target", "inputs", "read", "refused", "defects", "slowest (s)", "peak memory (MB)"]
    limits = content["limits"]
    note = (
        f"{content['inputs']:,} inputs, {len(content['defects'])} defects; each may take {limits['seconds']:g} s and "
        f"{limits['memory_mb']} MB beyond the libraries."
    )
    return "\n".join([table(head, rows), "", note])


def faults_table(content: dict[str, Any]) -> str:
    rows = []
    for row in content["rows"]:
        codes = ", ".join(map(str, dict.fromkeys(row["codes"])))
        line = f"`{row['line'][:150]}`" if row["line"] else ""
        rows.append([row["fault"].replace("|", "\\|"), codes, line, "yes" if row["borne"] else "no"])
    note = f"{content['borne']} of {content['faults']} borne."
    return "\n".join([table(["fault", "exit code", "stderr", "borne"], rows), "", note])


def leaks_table(content: dict[str, Any]) -> str:
    rows = [[f"{row['rounds']:,}", row["memory_mb"], row["open_files"]] for row in content["rows"]]
    note = f"{content['growth_mb']} MB and {content['more_open_files']} open files more."
    return "\n".join([table(["rounds", "memory (MB)", "open files"], rows), "", note])


def bulk_table(content: dict[str, Any]) -> str:
    rows = [
        [row["run"], row["wall_s"], row["cpu_s"], row["audio_s_per_s"], row["audio_s_per_cpu_s"]]
        for row in content["runs"]
    ]
    head = ["run", "wall (s)", "CPU (s)", "audio seconds a second", "audio seconds a CPU second"]
    same = {name: "the same bytes" if equal else "OTHER bytes" for name, equal in content["same_bytes"].items()}
    shards, cores = content["shards"], content["provenance"]["machine"]["cores"]
    done = ", ".join(str(kill["shards"]) for kill in content["kills"]) or "no"
    note = (
        f"{content['data']['clips']:,} clips, {content['data']['seconds']:,} s, in {shards['files'] - 1} shards of "
        f"{shards['megabytes']} MB together. Start-up is included, and the machine had other work (load "
        f"{content['load'][0]:g} on {cores} cores). Killed {len(content['kills'])} times, with {done} "
        f"shards done, and begun again: {same['killed']}."
    )
    note += f" By Ray: {same['ray']}." if "ray" in same else ""
    return "\n".join([table(head, rows), "", note])
