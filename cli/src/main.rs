//! The `handfast` command.

fn main() -> std::process::ExitCode {
    handfast::run()
}
