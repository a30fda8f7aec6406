//! The `cartwright` command, as a binary that the suites of this crate can rely on being built.

fn main() -> std::process::ExitCode {
    cartwright::main()
}
