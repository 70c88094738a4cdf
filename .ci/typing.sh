#!/usr/bin/env bash
# Lay out build/typing/nfsim as links in the shape that is installed: type checkers do not read package_dir.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
rm -rf build/typing
mkdir -p build/typing/nfsim
ln -s "$PWD"/nfsim/* build/typing/nfsim/
for part in */__init__.py; do
    part="${part%/__init__.py}"
    if [ "$part" != nfsim ]; then
        ln -s "$PWD/$part" build/typing/nfsim/
    fi
done
