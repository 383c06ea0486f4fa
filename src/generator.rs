//! Synthetic raw events from a seed: pure, for `demo`, `generate`, benches and tests.
