//! The binary: everything it does is in the library.

use std::process::ExitCode;

/// Small allocations that live for long and those of a moment don't share places: see the dependency's reason.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    walcast::cli::main()
}
