#!/bin/sh
# The floor under Lethe: its client, its records' number and sizes, and nothing between. `PEERS_EXTRA=<this folder> ./run.sh lethe floor`.
. "$PEERS/peers.d/common.sh"
here=$(cd "$(dirname "$0")/../.." && pwd)
target=${LETHE_TARGET_DIR:-$PEERS_WORK/target}
case "$1" in
info) echo "title=Floor: Lethe's client and records, no transform"; echo eos=yes; echo copy=yes ;;
build)
  CARGO_TARGET_DIR=$target cargo build --release --quiet --bench floor --manifest-path "$here/Cargo.toml"
  cp "$(ls -t "$target"/release/deps/floor-* | grep -v '\.d$' | head -1)" "$target/release/lethe-floor" ;;
version) git -C "$here" describe --always --dirty ;;
run) exec "$target/release/lethe-floor" ;;
esac
