#!/usr/bin/env bash
# Checks everything: bash scripts/run_tests.sh [pytest arguments, paths relative to the project's folder]
# Formatting, lint, types, import rules, then the tests; stops at the first that fails. --full runs the long tests whole.
# Installs system packages (a browser, a font) only with CI=true; elsewhere the browser tests need Chromium to be there.
set -euo pipefail

here=${BASH_SOURCE[0]}
while [ -L "$here" ]; do
  target=$(readlink "$here")
  case $target in /*) here=$target ;; *) here=$(dirname -- "$here")/$target ;; esac
done
# shellcheck source=scripts/_setup.sh
. "$(dirname -- "$here")/_setup.sh"

install_browser() {
  # The tests skip what needs a browser where there is none, except where this is set.
  export ZIMAGE_REQUIRE_BROWSER=1
  command -v apt-get >/dev/null || return 0
  local missing='' package
  for package in chromium fonts-noto-cjk; do
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

# check NAME COMMAND...
check() {
  local name=$1
  shift
  say "== $name"
  "$@" || die 1 "$name failed; the tests were not run."
}

set_up test
[ "${CI:-}" != true ] || install_browser
cd "$ROOT"
check 'ruff format --check' "$VENV/bin/ruff" format --check .
check 'ruff check' "$VENV/bin/ruff" check .
check 'mypy' "$VENV/bin/mypy"
check 'lint-imports' "$VENV/bin/lint-imports"
say "== pytest"
exec "$VENV/bin/python" -m pytest "$@"
