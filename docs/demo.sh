#!/usr/bin/env bash
# From sixty photographs to a classifier for every device: what `make demo` runs.
#
#     docs/demo.sh [FOLDER]    writes into FOLDER, by default build/demo, in place of what an earlier demo left there
set -euo pipefail

docs=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=${1:-build/demo}
rm -rf "$folder"
mkdir -p "$folder"
cd "$folder"
unset "${!CIFAR_EDGE_@}" # no model or data set of the user's

steps=6
done=0
step() { # its heading, with a bar
  done=$((done + 1))
  local bar
  bar=$(printf '%*s' $((done * 2)) '' | tr ' ' '#')
  printf '\n[%-*s] %d of %d: %s\n' $((steps * 2)) "$bar" "$done" "$steps" "$*"
}
run() {
  printf '$ %s\n' "$*"
  "$@"
}

step "photographs of new classes, 60 to learn from, 250 to test"
run python "$docs/photos.py"

step "the released network learns them, some seconds a line"
run cifar-edge train --data photos --name photos

step "export to int8 and C, each held against the one before"
run cifar-edge export --quantize --target c

step "photographs that it has never seen"
mkdir unseen
cp "$docs"/images/{airplane,bird,deer,frog,ship,truck}.png "$docs/images/chelsea.jpg" unseen
run cifar-edge predict --recursive unseen

step "one of them by that C, compiled on this machine"
run cifar-edge predict --engine c unseen/chelsea.jpg || echo "No C compiler here: left out."

step "a web page of it, which needs no server of yours"
run cifar-edge web --out site || echo "The page could not be built here: left out."

exec python "$docs/demo_end.py" "$folder" "$SECONDS"
