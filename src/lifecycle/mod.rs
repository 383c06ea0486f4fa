//! Time and rights as pure functions: retention windows, horizons, holds, erasure.
