#!/usr/bin/env bash
# Checks a running server: bash scripts/health_check.sh [URL]
# Default: one that runs on the workspace (ZIMAGE_WORKSPACE, else ~/workspace), else http://127.0.0.1:7860.
# Prints its health, then the time of one small picture newly drawn (cold) and from the cache.
# Exits 1, with the reason, when the server is unhealthy, loading or cannot be reached. Needs curl and a Python 3.
# ZIMAGE_AUTH=user:password where the server requires it.
set -euo pipefail

# shellcheck source=scripts/_setup.sh
. "$(dirname -- "$(readlink -f -- "$0")")/_setup.sh"

LINE_END=$'\n' # bash 3.2 does not read $'...' inside a quoted expansion

find_reader() {
  local candidate
  for candidate in "$VENV/bin/python" python3; do
    if "$candidate" -c '' >/dev/null 2>&1; then READER=$candidate && return; fi
  done
  die 2 "Neither $VENV nor a python3 is here to read the server's answers with. Run scripts/start_app.sh once."
}

# field NAME <JSON: prints a value by its path, such as images.0.source; nothing where it is missing or no JSON.
field() {
  "$READER" -c '
import json, sys
try:
    value = json.load(sys.stdin)
    for name in sys.argv[1].split("."):
        value = value[int(name) if isinstance(value, list) else name]
except (ValueError, LookupError, TypeError):
    value = None
print("" if value is None else value)' "$1"
}

# find_server: sets URL to the first address in the workspace at which a server answers, else to the usual one.
find_server() {
  local file
  for file in "${ZIMAGE_WORKSPACE:-${HOME:-}/workspace}"/servers/*.json; do
    URL=$(field url <"$file" 2>/dev/null) || continue
    # The password is sent there, and others may be able to write the file.
    [[ $URL =~ ^http://(127\.0\.0\.1|\[::1\]):[0-9]+$ ]] || continue
    if curl --silent --max-time 2 --noproxy '*' --output /dev/null "$URL/health"; then return; fi
  done
  URL=http://127.0.0.1:7860
}

# call SECONDS PATH [BODY]: sets STATUS, TAKEN (seconds) and ANSWER. The password is never in an argument list, and
# no proxy is used for a server on this machine.
call() {
  local written
  written=$(curl --silent --show-error --max-time "$1" --noproxy "127.0.0.1,localhost,::1,${no_proxy:-${NO_PROXY:-}}" \
    --config <(credentials) ${3:+--header 'Content-Type: application/json' --data "$3"} \
    --write-out '\n%{http_code} %{time_total}' "$URL$2" 2>&1) || die 1 "$URL cannot be reached: $(first_line "${written##*curl: }")"
  ANSWER=${written%"$LINE_END"*}
  written=${written##*"$LINE_END"}
  STATUS=${written% *}
  TAKEN=${written#* }
}

first_line() { printf '%s' "${1%%"$LINE_END"*}"; }

credentials() {
  if [ -n "${ZIMAGE_AUTH:-}" ]; then printf 'user = "%s"\n' "$(printf '%s' "$ZIMAGE_AUTH" | sed 's/[\\"]/\\&/g')"; fi
}

check_health() {
  call 10 /health
  local state detail
  state=$(field status <<<"$ANSWER")
  detail=$(field detail <<<"$ANSWER")
  [ "$STATUS" = 200 ] || die 1 "$URL is unhealthy: /health answers $STATUS."
  case $state in
    healthy | sleeping) say "$URL is $state" ;; # a sleeping server wakes for the next request
    loading) die 1 "$URL is not ready: loading${detail:+, $detail}. Try again soon." ;;
    *) die 1 "$URL is unhealthy: ${state:-/health answers no JSON with a status}${detail:+, $detail}." ;;
  esac
}

# generate MODE: one picture of a size that every model draws, always the same one.
generate() {
  call 300 /generate '{"prompt": "health check: a red circle", "width": 256, "height": 256, "seed": 1, "cache": "'"$1"'"}'
  [ "$STATUS" = 200 ] || die 1 "$URL is unhealthy: /generate answers $STATUS, $(field error.message <<<"$ANSWER")"
}

measure() {
  generate use # wakes the server and leaves the picture in the cache
  generate bypass
  local cold=$TAKEN source
  say "cold    $cold s"
  generate use
  source=$(field images.0.source <<<"$ANSWER")
  say "cached  $TAKEN s ($source)"
  case $source in
    memory | disk) say "ratio   $(awk "BEGIN { printf \"%.1f\", $cold / ($TAKEN > 0 ? $TAKEN : 0.000001) }")" ;;
    *) say "The picture did not come from the cache: is it switched off?" ;;
  esac
}

command -v curl >/dev/null || die 2 "curl is needed and not here. Install it and start again."
find_reader
if [ $# -gt 0 ]; then URL=${1%/}; else find_server; fi
check_health
measure
