#!/usr/bin/env bash
# Writes requirements/constraints.txt anew after a change of setup.py. Pins that still fit are
# kept; `requirements/lock.sh --upgrade` lets all of them move. Needs launch/setup.sh run before.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

readonly CONSTRAINTS=requirements/constraints.txt
resolved=$(mktemp)
trap 'rm -f -- "$resolved"' EXIT

# 3.12 on glibc 2.31: the oldest of both that libtpu has builds for. The [tpu] and [gpu] extras
# resolve together, so one file serves every machine. uv disregards upper bounds of
# Requires-Python, which pip enforces: without the bound uv falls back to a bigquery of 2021.
cp -- "$CONSTRAINTS" "$resolved"
printf '%s\n' uv "google-cloud-bigquery>=3" | .uv/tool/bin/uv pip compile setup.py - --all-extras \
  --python-version 3.12 --python-platform x86_64-manylinux_2_31 --no-emit-index-url \
  --no-annotate --no-header --quiet --output-file "$resolved" "$@"
{
  echo "# Exact versions for every extra of setup.py: written by requirements/lock.sh, not by hand."
  grep -v '^#' "$resolved"
} >"$CONSTRAINTS.new"
mv -- "$CONSTRAINTS.new" "$CONSTRAINTS"
