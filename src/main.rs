//! The binary `lethe`: [`lethe::cli`], and the allocator.

use std::process::ExitCode;

/// Also takes the place of malloc for librdkafka.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    ExitCode::from(lethe::cli::main(std::env::args_os()))
}
