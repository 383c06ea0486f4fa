//! Keeps this process's memory, which holds clear values and keys, out of core files.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Forbids core files of this process, and other processes of the same user to read its memory.
///
/// A limit of zero alone would not do: a kernel that pipes core files into a program (`core_pattern` with `|`) does not go by it.
/// Errors: the kernel, or a sandbox, does not let it; everything else can go on.
pub fn forbid() -> Result<(), &'static str> {
    let limited = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let private = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    limited.and(private).map_err(|_| "core files of this process could not be forbidden: forbid them outside, such as by LimitCORE=0")
}
