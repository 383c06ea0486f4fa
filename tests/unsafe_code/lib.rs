//! The room of the hash kernels as it stands in `src`, for Miri and AddressSanitizer.
#![allow(dead_code, missing_docs)]

/// What the kernels know of the model.
#[path = "."]
pub mod model {
    #[path = "../../src/model/span.rs"]
    pub mod span;
}

/// The kernels, what they are equal to, and their tests.
#[path = "."]
pub mod transform {
    #[path = "../../src/transform/hash/mod.rs"]
    pub mod hash;
}
