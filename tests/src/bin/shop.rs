//! The `cartwright` command, as a binary that cargo builds for the suites of this crate.

fn main() -> std::process::ExitCode {
    cartwright::main()
}
