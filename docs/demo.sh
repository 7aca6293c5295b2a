#!/usr/bin/env bash
# The whole story on the embedded sample of CIFAR-10, in a temporary folder: what `make demo` runs.
set -euo pipefail

docs=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp -R "$docs/images" "$folder"
cd "$folder"
unset "${!CIFAR_EDGE_@}" # no model or data set of the user's

step() {
  printf '\n$ %s\n' "$*"
  "$@"
}

step cifar-edge train --data sample --epochs 20 --set batch_size=25
step cifar-edge export --quantize
step cifar-edge predict images/cat.png images/frog.png images/ship.png

printf '\nSome hundred images teach a network little. The released one has seen all 50,000:\n'
step cifar-edge predict --model gn-cnn images/{airplane,automobile,bird,cat,deer,dog,frog,horse,ship,truck}.png
