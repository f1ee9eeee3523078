# shellcheck shell=bash
# Sourced by start_app.sh, run_tests.sh and health_check.sh: makes the Python environment in which this project runs.
# Independent of the app and the tests. Runs in bash 3.2, the newest on macOS.
#
# What it reads: PYTHON (the interpreter to build with), ZIMAGE_VENV (where; default .venv beside pyproject.toml),
# TMPDIR, and all of pip's own settings. What it writes: $VENV and nothing else.
#
# $VENV/.zimage/made   the folder was made here, so it may be emptied and made again
# $VENV/.zimage/app    a finished set-up: the place, the interpreter, and the two files that were installed from
# $VENV/.zimage/test   likewise with the test extra
# Both files are absent while pip runs, so that an interrupted set-up is not taken for a finished one.

ROOT=$(CDPATH='' cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
VENV=${ZIMAGE_VENV:-$ROOT/.venv}
case $VENV in /*) ;; *) VENV=$PWD/$VENV ;; esac
MARKS=$VENV/.zimage

say() { printf '%s\n' "$*"; }

# die STATUS LINE
die() {
  printf '%s\n' "$2" >&2
  exit "$1"
}

# set_up EXTRA: afterwards $VENV holds the app, and the test extra when EXTRA is `test` instead of `app`.
# Starts neither pip nor Python when nothing changed. Waits for another set-up of the same folder.
set_up() {
  refuse_windows
  if is_current "$1"; then return; fi
  refuse_foreign_folder
  mkdir -p "$MARKS" || die 2 "Cannot make the folder $VENV. Make it writable, or name another one in ZIMAGE_VENV."
  trap 'die 130 "Interrupted. The next start begins the set-up again; what was fetched is kept by pip."' INT
  lock
  if ! is_current "$1"; then
    is_usable || make_environment
    install "$1"
  fi
  exec 9>&-
  trap - INT
}

refuse_windows() {
  case $OSTYPE in
    msys* | cygwin* | win32*) die 2 "This runs on Linux and macOS. On Windows, start it inside WSL (wsl --install)." ;;
  esac
}

# --- What is there already -------------------------------------------------------------------------------------

# is_current EXTRA
is_current() {
  [ -x "$VENV/bin/python" ] && [ -e "$MARKS/$1" ] && suits_wish && stamp | cmp -s - "$MARKS/$1"
}

# The text itself is compared, not a hash: cmp is installed on every machine.
stamp() {
  place
  cat "$ROOT/pyproject.toml" "$ROOT/constraints.txt"
}

# An environment works only in its original place, and with the interpreter it was made from.
place() { printf '%s\n' "$ROOT" "$(real_path "$VENV/bin/python")"; }

# Finished once, with or without the test extra: pip needs only to update it.
is_usable() {
  [ -x "$VENV/bin/python" ] && suits_wish || return 1
  if ! is_ours; then
    has_pip
    return
  fi
  local mark
  for mark in "$MARKS/app" "$MARKS/test"; do
    if [ -e "$mark" ] && [ "$(head -n 2 "$mark")" = "$(place)" ]; then return; fi
  done
  return 1
}

# An environment that was not made by these scripts is used, never emptied.
has_pip() {
  is_recent "$("$VENV/bin/python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null || echo 0.0.0)" &&
    "$VENV/bin/python" -m pip --version >/dev/null 2>&1
}

is_ours() { [ -e "$MARKS/made" ]; }

# PYTHON, where it is set, also applies to an environment that exists.
suits_wish() {
  [ -z "${PYTHON:-}" ] && return
  [ -d "$VENV/lib/python$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" ]
}

# Only a folder made here is ever emptied: ZIMAGE_VENV may name a home folder by mistake. The folder's contents are read
# before the marks: a concurrent set-up writes its mark first, so its files are always recognised.
refuse_foreign_folder() {
  if [ -z "$(ls -A "$VENV" 2>/dev/null)" ] || [ -e "$MARKS" ] || [ -e "$VENV/pyvenv.cfg" ]; then return; fi
  die 2 "$VENV is not empty and no Python environment. Name another folder in ZIMAGE_VENV."
}

# readlink -f is missing on older macOS.
real_path() {
  local path=$1 target
  while [ -L "$path" ]; do
    target=$(readlink "$path")
    case $target in /*) path=$target ;; *) path=${path%/*}/$target ;; esac
  done
  printf '%s\n' "$path"
}

# --- Python ----------------------------------------------------------------------------------------------------

# Prints the version; fails where the parts are missing that Debian ships apart, in python3-venv.
PROBE='import sys
print("%d.%d.%d" % sys.version_info[:3])
import ensurepip, venv'

# Sets FOUND to a Python that can make environments; exits 2 with what is needed, what is there and what to do.
# A command that fails to start, such as a pyenv shim without a version, counts as absent.
find_python() {
  if [ -n "${PYTHON:-}" ]; then set -- "$PYTHON"; else set -- python3 python3.13 python3.12 python3.11; fi
  local candidate version seen='' bare=''
  for candidate; do
    if version=$("$candidate" -c "$PROBE" 2>/dev/null) && is_recent "$version"; then
      FOUND=$candidate
      return
    fi
    if [ -z "$version" ]; then continue; fi
    if is_recent "$version"; then bare=${version%.*}; fi
    seen="$seen${seen:+, }$candidate is $version"
  done
  [ -z "$bare" ] || die 2 "Python $bare is here, but without its modules venv and ensurepip. Install them (Debian, Ubuntu: apt install python$bare-venv) and start again."
  die 2 "Python 3.11 or newer is needed; found: ${seen:-none${PYTHON:+ at PYTHON=$PYTHON}}. Install one (Debian, Ubuntu: apt install python3 python3-venv; macOS: brew install python; others: python.org), or name it: PYTHON=/path/to/python3."
}

# is_recent X.Y.Z
is_recent() {
  local major=${1%%.*} minor=${1#*.}
  minor=${minor%%.*}
  [ "$major" -gt 3 ] || { [ "$major" -eq 3 ] && [ "$minor" -ge 11 ]; }
}

# --- One set-up at a time --------------------------------------------------------------------------------------

# The lock sits on descriptor 9, which this shell shares with the Python that takes it: released with the shell
# however that ends, so no stale lock can be left. macOS has no flock command, hence Python's.
lock() {
  local python=$VENV/bin/python
  if ! is_usable; then
    find_python
    python=$FOUND
  fi
  exec 9>>"$MARKS/lock"
  "$python" -c "$TAKE_LOCK"
}

TAKE_LOCK='import fcntl, signal
signal.signal(signal.SIGINT, signal.SIG_DFL)
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("Another start is setting this up; waiting for it.", flush=True)
    fcntl.flock(9, fcntl.LOCK_EX)
except OSError as error:
    print(f"No locks on this file system ({error}); start one script at a time.", flush=True)'

# --- Making it -------------------------------------------------------------------------------------------------

make_environment() {
  if [ ! -e "$VENV/pyvenv.cfg" ] && [ -z "$(find "$VENV" -mindepth 1 -maxdepth 1 ! -name .zimage)" ]; then : >"$MARKS/made"; fi
  is_ours || die 2 "$VENV was not made here and does not suit: it needs pip and Python 3.11 or newer${PYTHON:+, the version of PYTHON}. Remove it, or name another folder in ZIMAGE_VENV."
  find_python
  find "$VENV" -mindepth 1 -maxdepth 1 ! -name .zimage -exec rm -rf {} +
  rm -f "$MARKS/app" "$MARKS/test" "$MARKS/pip.log"
  say "Making a Python environment in $VENV"
  "$FOUND" -m venv "$VENV" || explain_failure
}

# install EXTRA
install() {
  announce
  stamp >"$MARKS/next" || explain_failure
  rm -f "$MARKS/app" "$MARKS/test"
  local project=.
  [ "$1" = app ] || project=".[$1]"
  (cd "$ROOT" && "$VENV/bin/python" -m pip install --disable-pip-version-check --log "$MARKS/pip.log" \
    --editable "$project" --constraint constraints.txt) || explain_failure
  [ "$1" = app ] || cp "$MARKS/next" "$MARKS/$1"
  mv "$MARKS/next" "$MARKS/app"
  rm -f "$MARKS/pip.log"
  say "Set up. Later starts skip this until pyproject.toml or constraints.txt change."
}

# Prints what will be downloaded, before the download. Sizes as measured for the tested set, with the test extra.
announce() {
  say "Installing the tested packages (constraints.txt). What pip has in its cache is not fetched again."
  if ! may_bring_cuda; then
    foresee 0.4 2
  elif has_nvidia_driver; then
    foresee 4 9
  elif has_pip_source; then
    say "pip has sources of its own set: if they hold a CPU build of PyTorch, it is taken."
    foresee 0.4 2 "; with PyTorch's CUDA build about 4 GB and 9 GB"
  else
    say "No NVIDIA driver here, yet PyTorch's ordinary package brings CUDA, 3 to 4 GB of it. Its CPU build needs a tenth:"
    say "stop now (Ctrl+C), look up the index address of the CPU build under Get Started on pytorch.org, then"
    say "  export PIP_EXTRA_INDEX_URL=<that address>   and start again."
    foresee 4 9
  fi
}

# foresee FETCHED_GB STORED_GB [REMARK]
foresee() {
  say "To fetch: up to about $1 GB; on disk afterwards: about $2 GB${3:-}."
  local folder free
  for folder in "$VENV" "${TMPDIR:-/tmp}"; do
    free=$(free_mb "$folder")
    if [ -n "$free" ] && [ "$free" -lt "$(($2 * 1000))" ]; then say "Only $free MB are free in the file system of $folder; going on."; fi
  done
}

may_bring_cuda() { case $OSTYPE-$HOSTTYPE in linux*-x86_64) ;; *) return 1 ;; esac; }

has_nvidia_driver() { command -v nvidia-smi >/dev/null || [ -e /proc/driver/nvidia ] || [ -e /dev/nvidiactl ]; }

# pip lists its configuration files and its PIP_ variables alike. No grep -q behind a pipe: it leaves at the first
# match, pip ends with SIGPIPE, and pipefail makes that a failure.
has_pip_source() {
  case $("$VENV/bin/python" -m pip config list 2>/dev/null) in
    *.index-url=* | *.extra-index-url=* | *.find-links=*) ;;
    *) return 1 ;;
  esac
}

# Megabytes free in the file system of FOLDER; nothing where df reports none. The column before the percentage, as
# names with spaces shift the columns.
free_mb() {
  { df -Pk "$1" 2>/dev/null || true; } |
    awk 'NR == 2 { for (i = 2; i <= NF; i++) if ($i ~ /%$/) printf "%d", $(i - 1) * 1.024 / 1000 }'
}

# --- When it fails ---------------------------------------------------------------------------------------------

explain_failure() {
  if disk_is_full; then
    die 1 "The disk is full: $(free_mb "$VENV") MB free for $VENV, $(free_mb "${TMPDIR:-/tmp}") MB for ${TMPDIR:-/tmp}. Free some room, or name roomier folders in ZIMAGE_VENV and TMPDIR, then start again."
  elif network_is_missing; then
    die 1 "pip could not reach its package index. Check the network, the proxy (HTTPS_PROXY) and pip's settings (pip config list), then start again; what was fetched is kept."
  fi
  die 1 "The set-up failed; the reason stands above, the whole story in $MARKS/pip.log. Start again once it is mended."
}

# pip removes its temporary files before df can see them, hence its log; the log stays short on a full disk, hence df.
disk_is_full() {
  local free
  free=$(free_mb "$VENV")
  [ "${free:-9999}" -lt 20 ] || log_says 'No space left on device|Errno 28'
}

network_is_missing() {
  log_says 'NewConnectionError|ConnectTimeoutError|NameResolutionError|Failed to establish a new connection|Network is unreachable|ProxyError|ReadTimeoutError|Max retries exceeded'
}

# log_says PATTERN
log_says() { grep -Eqs "$1" "$MARKS/pip.log"; }
