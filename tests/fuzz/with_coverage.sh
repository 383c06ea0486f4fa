#!/bin/sh
# Compiles Lethe with edge counters for the fuzzer, overflow and debug assertions on; what it depends on stays as built.
#   RUSTC_WORKSPACE_WRAPPER=$PWD/tests/fuzz/with_coverage.sh LETHE_FUZZ=1h cargo test --release --test fuzz hostile -- --nocapture
rustc=$1
shift
case " $* " in
*" --crate-name lethe "* | *" --crate-name fuzz "*)
  # The binary has no place for counters, and is not run.
  exec "$rustc" "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Coverflow-checks=on -Cdebug-assertions=on -Clink-arg=-Wl,--unresolved-symbols=ignore-all
  ;;
esac
exec "$rustc" "$@"
