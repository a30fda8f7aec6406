//! The `cartwright` command.

fn main() -> std::process::ExitCode {
    cartwright::main()
}
