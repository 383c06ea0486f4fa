//! Nouns shared by the rooms: no I/O, no clock, no threads.

pub mod span;
