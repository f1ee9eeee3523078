#!/usr/bin/env bash
# Checks everything: bash scripts/run_tests.sh [pytest arguments, paths relative to the project's folder]
# Formatting, lint, types, import rules and all tests, in as many processes as there are cores, at most four; with a path
# only the tests there, in one process. --full runs the long tests whole.
# Installs system packages (a browser, a font, nginx) only with CI=true; elsewhere the browser tests need Chromium to be there.
set -euo pipefail

# shellcheck source=scripts/_setup.sh
. "$(dirname -- "$(readlink -f -- "$0")")/_setup.sh"

install_browser() {
  # Tests that need a browser are skipped where there is none, unless this is set.
  export ZIMAGE_REQUIRE_BROWSER=1
  command -v apt-get >/dev/null || return 0
  local missing='' package
  for package in chromium fonts-noto-cjk nginx-light; do
    [ "$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null)" = 'install ok installed' ] || missing="$missing $package"
  done
  [ -n "$missing" ] || return 0
  say "CI: installing the Debian packages$missing"
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086 # names without spaces
  { as_root apt-get update -qq && as_root apt-get install -qq -y --no-install-recommends $missing; } ||
    die 1 "apt-get could not install$missing; the browser tests need them."
}

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n -E "$@"; fi; }

set_up test
[ "${CI:-}" != true ] || install_browser
cd "$ROOT"
# With this variable, each of the many processes that the tests start would compile the program again.
unset PYTHONDONTWRITEBYTECODE
workers='-n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder'
for argument; do [ "$argument" = --full ] || workers=''; done
# shellcheck disable=SC2086 # words without spaces
exec "$VENV/bin/python" -m pytest $workers "$@"
