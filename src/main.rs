//! Parses the command line, calls one command, returns its exit code.

fn main() {}
