//! What people are told, on standard output and standard error. Whoever reads may stop (`| head -1`), and the disk behind may be full: neither ends a
//! command in the middle of its work, as `println!` would.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};
use std::sync::OnceLock;

/// Why something that was said is not there.
static LOST: OnceLock<String> = OnceLock::new();

/// A line on standard output.
macro_rules! say {
    ($($what:tt)*) => { $crate::ops::say::out(format_args!("{}\n", format_args!($($what)*))) };
}

/// A text on standard output, as it is.
macro_rules! show {
    ($($what:tt)*) => { $crate::ops::say::out(format_args!($($what)*)) };
}

/// A line on standard error.
macro_rules! say_aside {
    ($($what:tt)*) => { $crate::ops::say::aside(format_args!("{}\n", format_args!($($what)*))) };
}

pub(crate) use {say, say_aside, show};

/// Says it on standard output. Errors: none here; see [`lost`].
pub fn out(what: Arguments<'_>) {
    let mut stdout = std::io::stdout().lock();
    if let Err(fault) = stdout.write_fmt(what).and_then(|()| stdout.flush())
        // A reader that has had enough misses nothing.
        && fault.kind() != ErrorKind::BrokenPipe
    {
        LOST.get_or_init(|| fault.to_string());
    }
}

/// Says it on standard error; where that cannot be written, nobody can be told.
pub fn aside(what: Arguments<'_>) {
    let _ = std::io::stderr().lock().write_fmt(what);
}

/// Why something that was said on standard output is not there, if somebody may miss it.
#[must_use]
pub fn lost() -> Option<&'static str> {
    LOST.get().map(String::as_str)
}
