//! The `handfast` command under a name of its own, so that cargo always builds it for the process tests.

fn main() -> std::process::ExitCode {
    handfast::run()
}
