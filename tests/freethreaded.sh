#!/usr/bin/env bash
# Find a free-threaded CPython (3.13t or 3.14t), or build one; its path is the last line of stdout.
#
#   freethreaded.sh CACHE_DIRECTORY
#
# No Debian release packages one, but its source package of python3.13 holds CPython's own tarball, and apt checks
# its signature. All of apt's state is private to this script: the machine's lists and sources stay as they are.
set -euo pipefail

cache=$(realpath -m "${1:?usage: freethreaded.sh CACHE_DIRECTORY}")
prefix=$cache/python3.13t

usable() { # tried, not looked for: a pyenv shim is there for versions that are not selected, too
  "$1" -c 'import sys, sysconfig, ctypes, ensurepip, sqlite3, ssl, venv, zlib
sys.exit(not sysconfig.get_config_var("Py_GIL_DISABLED"))' 2>/dev/null
}

for python in "$prefix/bin/python3.13t" python3.13t python3.14t "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[34]*t/bin/python3; do
  if usable "$python"; then
    command -v "$python"
    exit
  fi
done

exec 3>&1 >&2 # from here on stdout is for the path alone
advice='put a python3.13t on PATH by other means (pyenv install 3.13t, uv python install 3.13t)'
command -v apt-get >/dev/null || { echo "no free-threaded Python, nor apt to get its source: $advice"; exit 1; }

# Without these headers the build succeeds and leaves modules out.
missing=()
for package in build-essential dpkg-dev libssl-dev zlib1g-dev libffi-dev libsqlite3-dev liblzma-dev libbz2-dev; do
  [[ $(dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null) == *'ok installed'* ]] || missing+=("$package")
done
if ((${#missing[@]})); then
  install=(apt-get install --yes --no-install-recommends "${missing[@]}")
  ((EUID == 0)) || { echo "needed to build CPython: sudo ${install[*]}"; exit 1; }
  DEBIAN_FRONTEND=noninteractive "${install[@]}"
fi

mkdir -p "$cache"
work=$(mktemp -d "$cache/build.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 . # apt downloads as a user of its own
mkdir -p lists/partial archives/partial
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[[ -e $keyring ]] && signed="[signed-by=$keyring]" || signed=
apt=(apt-get -qq -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
  -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work"
  -o Acquire::Retries=3 -o APT::Update::Error-Mode=any)
# The machine's own mirrors, for trixie whatever its release; one that is not Debian's has no trixie, or another key.
apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' | awk '!seen[$0]++' >mirrors
while read -r mirror; do
  echo "deb-src $signed $mirror trixie main" >sources.list
  if "${apt[@]}" update && "${apt[@]}" source --download-only --tar-only python3.13; then break; fi
done <mirrors
[[ -n $(compgen -G 'python3.13_*.orig.tar.*') ]] || { echo "apt has no source of python3.13: $advice"; exit 1; }

mkdir source
tar -xf python3.13_*.orig.tar.?z -C source --strip-components=1 # as upstream made it: Debian's patches move site-packages
cd source
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL # `make PYTHON=...` of the caller would set CPython's PYTHON as well
echo "building a free-threaded CPython in $prefix: some minutes"
./configure --quiet --disable-gil --prefix="$prefix" --without-ensurepip --disable-test-modules >"$work/log" 2>&1 &&
  make -s -j "$(nproc)" >>"$work/log" 2>&1 && make -s altinstall DESTDIR="$work/root" >>"$work/log" 2>&1 ||
  { tail -n 40 "$work/log"; exit 1; }
rm -rf "$prefix"
mv "$work/root$prefix" "$prefix" # in one step: an install that was interrupted is never taken for one
usable "$prefix/bin/python3.13t" || { echo "what was built in $prefix lacks modules"; exit 1; }
echo "$prefix/bin/python3.13t" >&3
