#!/usr/bin/env python3
"""Faults injected into commands at work: kills, full disks, lost networks, spoilt caches, taken files.

    python benchmarks/faults.py --out benchmarks/results/faults.json

For each: the exit code, one line on stderr and no traceback, nothing lost or doubled, nothing touched outside the
output folder, no temporary file left behind the next run. Full disks are small tmpfs mounts and missing permissions
another user, so root is needed; without it these are left out. Exits with code 1 if a fault was not borne.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import _common
import _faults_files  # noqa: F401
import _faults_network  # noqa: F401
import _faults_stops  # noqa: F401
from _bench import Bench
from _faults import FAULTS, Row

from llmcodec.evaluation.provenance import provenance


def main(argv: Sequence[str] | None = None) -> int:
    parser = _common.parser(__doc__)
    parser.add_argument("--only", help="faults whose name holds this")
    arguments = parser.parse_args(argv)
    rows: list[Row] = []
    wanted = {name: fault for name, fault in FAULTS.items() if not arguments.only or arguments.only in name}
    for name, fault in wanted.items():
        begun = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            (Path(folder) / "printed").mkdir()
            rows.append(fault(name, Bench(Path(folder) / "bench"), arguments.seed))
        bad = [check for check, held in asdict(rows[-1]).items() if held is False]
        verdict = f"NOT BORNE: {', '.join(bad)}" if bad else "borne"
        print(f"{name}: {verdict} ({time.perf_counter() - begun:.0f} s) {rows[-1].line}", file=sys.stderr, flush=True)
    content = {
        "faults": len(rows),
        "borne": sum(row.borne for row in rows),
        "rows": [{**asdict(row), "borne": row.borne} for row in rows],
        "provenance": provenance(arguments.seed),
    }
    head = ["fault", "exit code", "line", "borne"]
    lines = [[row.fault, ", ".join(map(str, row.codes)), row.line, "yes" if row.borne else "NO"] for row in rows]
    _common.report(arguments, content, _common.table(head, lines))
    return 0 if content["borne"] == content["faults"] else 1


if __name__ == "__main__":
    _common.run(main)
