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
  bar=$(printf '%*s' $((done * 4)) '' | tr ' ' '#')
  printf '\n[%-*s] %d of %d: %s\n' $((steps * 4)) "$bar" "$done" "$steps" "$*"
}
run() {
  printf '$ %s\n' "$*"
  "$@"
}

step "photographs of two classes that no released model has, 60 to learn from and 250 to be judged by"
run python "$docs/photos.py"

step "the released network learns the new classes, some seconds a line"
run cifar-edge train --data photos --name photos

step "export to int8, held against PyTorch, and to C, held against int8; nothing is written if one differs too much"
run cifar-edge export --quantize --target c

step "photographs that it has never seen"
cp "$docs"/images/{airplane,bird,deer,frog,ship,truck}.png "$docs/images/chelsea.jpg" .
run cifar-edge predict airplane.png bird.png deer.png frog.png ship.png truck.png chelsea.jpg

step "one of them by that C, compiled on this machine"
run cifar-edge predict --engine c chelsea.jpg || echo "No C compiler here: left out."

step "a web page of it, which needs no server of yours"
run cifar-edge web --out site || echo "The page could not be built here: left out."

exec python "$docs/demo_end.py" "$folder" "$SECONDS"
