#!/bin/sh
# The steps of the Dockerfile, for a bare Debian 12: `build` turns /src into /opt/heapscope (with the C hooks compiled),
# `base` is all that the running image needs besides that folder.
set -eu
export DEBIAN_FRONTEND=noninteractive

install() {
    apt-get update -qq
    apt-get install -qq -y --no-install-recommends "$@" >/dev/null
    rm -rf /var/lib/apt/lists/*
}

case $1 in
build)
    install python3 python3-venv gcc libc6-dev
    python3 -m venv /opt/heapscope
    /opt/heapscope/bin/pip install --quiet --no-cache-dir --disable-pip-version-check /src
    cd / && /opt/heapscope/bin/python -m emu.native
    # The image installs nothing more: pip, its caches and the emulator's headers and static library can go.
    /opt/heapscope/bin/pip uninstall --quiet --yes pip setuptools
    find /opt/heapscope -name '*.a' -delete
    find /opt/heapscope -type d \( -name tests -o -name include \) -prune -exec rm -rf {} +
    ;;
base)
    install python3
    ;;
*)
    echo "usage: image.sh build|base" >&2
    exit 2
    ;;
esac
