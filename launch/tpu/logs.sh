#!/usr/bin/env bash
# Fetches what supervisor and job have said, one file per worker, into a new directory.
#
#   launch/tpu/logs.sh [--SETTING=VALUE ...] [--dry-run]
set -euo pipefail
# shellcheck source=launch/tpu/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

main() {
  read_settings "$@"
  local logs
  logs=$RESULTS/logs-$(date +%Y%m%d-%H%M%S)
  [[ $DRY_RUN == yes ]] || logs=$(new_directory "$logs")
  warm_ssh
  on_workers all "bash $WORKER_SCRIPT log" --output-directory="$logs"
  say "Logs of the workers: $logs"
}

main "$@"
