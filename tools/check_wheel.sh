#!/usr/bin/env bash
# Build sdist and wheel, check their metadata, install the wheel with pip alone into an empty environment and run the
# demonstration there:
#
#     tools/check_wheel.sh [FOLDER]        FOLDER gets the two files, dist by default
#
# PYTHON        the interpreter, python3 by default
# TORCH_INDEX   an additional package index, as in the Makefile
set -euo pipefail
cd "$(dirname "$0")/.."
unset PYTHONPATH # what lies there would count as installed
dist=${1:-dist}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
install=(-m pip install --quiet --disable-pip-version-check ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"})

"${PYTHON:-python3}" -m venv "$work/build"
"$work/build/bin/python" "${install[@]}" build twine
"$work/build/bin/python" -m build --outdir "$work/dist" . > "$work/log" || { cat "$work/log"; exit 1; }
"$work/build/bin/python" -m twine check --strict "$work"/dist/*

"${PYTHON:-python3}" -m venv "$work/empty"
"$work/empty/bin/python" "${install[@]}" --constraint constraints-cpu.txt "$work"/dist/*.whl
(cd "$work" && empty/bin/llmcodec demo)

mkdir -p "$dist"
cp "$work"/dist/* "$dist"
ls -l "$dist"
