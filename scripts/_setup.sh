# shellcheck shell=bash
# Sourced by start_app.sh, run_tests.sh and health_check.sh: makes the Python environment of this project with venv and
# pip, which follows its own settings. Runs in bash 3.2, the newest on macOS.
# PYTHON names the interpreter to build with, ZIMAGE_VENV the environment (default: .venv beside pyproject.toml).
#
# $VENV/.zimage/made         the folder was made here, so it may be emptied and made again
# $VENV/.zimage/app, test    what the app, and the app with the test extra, were installed from; absent while pip runs,
#                            so that an interrupted set-up is not taken for a finished one

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
set_up() {
  case $OSTYPE in
    msys* | cygwin* | win32*) die 2 "This runs on Linux and macOS. On Windows, start it inside WSL (wsl --install)." ;;
  esac
  if is_current "$1"; then return; fi
  is_ours || { [ -e "$VENV/pyvenv.cfg" ] && has_pip; } || die 2 "$VENV is not empty and no Python environment with pip. Remove it, or name another folder in ZIMAGE_VENV."
  { mkdir -p "$MARKS" && : >>"$MARKS/lock"; } 2>/dev/null || die 2 "Cannot write to the folder $VENV. Make it writable, or name another one in ZIMAGE_VENV."
  lock
  is_current "$1" || install "$1" || die 1 "The set-up failed; the reason stands above. Start again once it is mended; what pip fetched is kept."
  exec 9>&-
}

# is_current EXTRA
is_current() { has_pip && [ "$(cat "$MARKS/$1" 2>/dev/null)" = "$(stamp)" ]; }

stamp() {
  printf '%s\n' "$ROOT"
  cat "$ROOT/pyproject.toml" "$ROOT/constraints.txt"
}

# False also where the interpreter that the environment was made from is gone, or has another version now.
has_pip() { "$VENV/bin/python" -I -c 'import pip' 2>/dev/null; }

# An environment holds absolute paths and works only in its original place.
is_finished() { has_pip && [ "$(head -n 1 "$MARKS/app" 2>/dev/null)" = "$ROOT" ]; }

# Only such a folder is ever emptied: ZIMAGE_VENV may name a home folder by mistake. The contents are read before the
# mark, because another start writes the mark before it fills the folder.
is_ours() {
  local contents
  contents=$(ls -A "$VENV" 2>/dev/null) || contents=
  [ -e "$MARKS/made" ] || [ -z "$contents" ] || [ "$contents" = .zimage ]
}

# The lock belongs to descriptor 9 and ends with this shell, however that ends. macOS has no flock command.
lock() {
  local python=$VENV/bin/python
  has_pip || python=$(find_python) || exit
  say "Setting up $VENV; where another start is doing so, this one waits."
  exec 9>>"$MARKS/lock"
  "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)' 2>/dev/null || say "No locks on this file system; start one script at a time."
}

# install EXTRA
install() {
  local project=. make='' text mark
  text=$(stamp)
  [ "$1" = app ] || project=".[$1]"
  if is_ours && ! is_finished; then make=yes; fi
  rm -f "$MARKS/app" "$MARKS/test"
  [ -z "$make" ] || make_environment || return
  (cd "$ROOT" && "$VENV/bin/python" -m pip install --disable-pip-version-check --editable "$project" --constraint constraints.txt) || return
  for mark in app "$1"; do printf '%s\n' "$text" >"$MARKS/$mark" || return; done
  say "Set up. Later starts skip this until pyproject.toml or constraints.txt change."
}

make_environment() {
  local python
  python=$(find_python) || exit
  say "The pinned packages take about 0.4 GB to fetch and 2 GB of disk; with PyTorch's CUDA build 4 GB and 9 GB."
  case $OSTYPE-$HOSTTYPE-${PIP_EXTRA_INDEX_URL:-} in
    linux*-x86_64-) command -v nvidia-smi >/dev/null || say "No NVIDIA driver here: PyTorch's CPU build is enough. Unless pip's settings name its index already, stop now (Ctrl+C), set PIP_EXTRA_INDEX_URL to it (pytorch.org, Get Started), and start again." ;;
  esac
  : >"$MARKS/made" && find "$VENV/" -mindepth 1 -maxdepth 1 ! -name .zimage -exec rm -rf {} + && "$python" -m venv "$VENV"
}

# Prints the interpreter to build with, not that of an environment which is active and may be emptied.
find_python() {
  if [ -n "${PYTHON:-}" ]; then set -- "$PYTHON"; else set -- python3 python3.13 python3.12 python3.11; fi
  local python
  for python; do
    "$python" -c 'import sys; print(sys._base_executable) if sys.version_info >= (3, 11) else sys.exit(1)' 2>/dev/null || continue
    "$python" -c 'import ensurepip, venv' 2>/dev/null || die 2 "$python lacks its modules venv and ensurepip. Install them (Debian, Ubuntu: apt install ${python##*/}-venv) and start again."
    return
  done
  die 2 "Python 3.11 or newer is needed; $1 is $("$1" -V 2>/dev/null || echo missing). Install one (Debian, Ubuntu: apt install python3 python3-venv; macOS: brew install python; others: python.org), or name it: PYTHON=/path/to/python3."
}
