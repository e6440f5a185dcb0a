#!/usr/bin/env bash
# The Yocto layer as oelint-adv sees it; errors and warnings count. Installs it into target/oelint the first time.
set -euo pipefail
cd "$(dirname "$0")/.."
version=9.11.2
if [ ! -x target/oelint/bin/oelint-adv ]; then
  python3 -m venv target/oelint 2>/dev/null ||
    { echo "yocto-lint: python3 has no venv: apt-get install python3-venv" >&2; exit 1; }
  target/oelint/bin/pip install --quiet "oelint-adv==$version"
fi
# A copy, with the list of crates that is made and not committed.
layer=target/oelint/meta-huddled
rm -rf "$layer"
cp -r yocto/meta-huddled "$layer"
python3 yocto/meta-huddled/scripts/crates.py Cargo.lock "$layer/recipes-huddled/huddled/huddled-crates.inc"
# HOMEPAGE: there is none yet. requireinclude, noanonpython: the recipe skips itself where the list of crates is missing.
suppress=(oelint.var.mandatoryvar.HOMEPAGE oelint.file.requireinclude oelint.task.noanonpython)
target/oelint/bin/oelint-adv --quiet --release wrynose --hide info "${suppress[@]/#/--suppress=}" \
  "$layer"/recipes-*/*/*.bb "$layer"/conf/layer.conf
echo "yocto-lint: nothing found"
