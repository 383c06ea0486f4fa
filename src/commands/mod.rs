//! One journey each, wiring only.
