#!/bin/sh
# What the Makefile needs before it can do anything: `setup.sh venv` makes .venv with the project and its development
# tools, `setup.sh packages` installs the Debian packages that tests and benches can use. Both do nothing when all is there.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }

can_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

apt_install() {
    export DEBIAN_FRONTEND=noninteractive
    # The lists may be fresh enough already; a second try after an update serves a bare machine.
    apt-get install -qq -y --no-install-recommends "$@" >/dev/null 2>&1 && return
    apt-get update -qq && apt-get install -qq -y --no-install-recommends "$@" >/dev/null
}

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    for python in "${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11; do
        if new_enough "$python"; then
            printf '%s' "$python"
            return
        fi
    done
    return 1
}

venv() {
    if ! python=$(find_python) && can_install; then
        say "setup: installing python3 and python3-venv"
        apt_install python3 python3-venv
    fi
    if ! python=$(find_python); then
        say "setup: heapscope needs Python 3.11 or newer (found: $(python3 --version 2>&1 || true)); name one with PYTHON=…"
        exit 1
    fi
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        # Debian keeps ensurepip in a package of its own.
        package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
        if ! can_install; then
            say "setup: $python cannot make a virtual environment; as root: apt-get install $package"
            exit 1
        fi
        say "setup: installing $package"
        apt_install "$package"
    fi
    .venv/bin/python -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear .venv
    say "setup: installing heapscope and its development tools into .venv (once)"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
}

packages() {
    wanted=$(sed 's/#.*//' tests/debian-packages.txt)
    if ! command -v dpkg-query >/dev/null; then
        say "setup: no Debian packages here; tests that need them are skipped: $(echo $wanted)"
        return
    fi
    missing=
    for package in $wanted; do
        case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) in
            *" installed") ;;
            *) missing="$missing $package" ;;
        esac
    done
    [ -n "$missing" ] || return 0
    if ! can_install; then
        say "setup: not root, so these Debian packages stay out and tests that need them are skipped:$missing"
        return
    fi
    say "setup: installing$missing"
    apt_install $missing || say "setup: apt-get failed; tests that need these packages are skipped:$missing"
}

# mimalloc is a shared library in Debian; guests are linked statically, from its source package: build/mimalloc.
mimalloc() {
    [ ! -e build/mimalloc/src/static.c ] && command -v apt-get >/dev/null || return 0
    say "setup: fetching the source package mimalloc"
    mkdir -p build/apt/lists/partial build/mimalloc
    sed -n 's/^Types: deb$/Types: deb-src/; p' /etc/apt/sources.list.d/debian.sources >build/apt/src.sources 2>/dev/null || :
    sed -n 's/^deb /deb-src /p' /etc/apt/sources.list >build/apt/src.list 2>/dev/null || :
    list=build/apt/src.sources
    [ -s $list ] || list=build/apt/src.list
    set -- -qq -o Dir::Etc::SourceList="$PWD/$list" -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$PWD/build/apt/lists"
    (
        apt-get "$@" update && cd build/apt && apt-get "$@" source --download-only mimalloc &&
            tar -xf mimalloc_*.orig.tar.* -C ../mimalloc --strip-components=1
    ) >/dev/null 2>&1 || say "setup: no source package mimalloc; tests that need it are skipped"
    rm -rf build/apt
}

"$1"
[ "$1" != packages ] || mimalloc
