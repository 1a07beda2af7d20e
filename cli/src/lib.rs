//! The `handfast` command: servers, clients, and a demo of both.
//!
//! Data goes to stdout, talk to stderr. Exit codes are listed in docs/operating.md.

mod client;
mod config;
mod demo;
mod duration;
mod errors;
mod inspect;
pub mod nodes;
mod outcome;
mod output;
mod registry;
mod serve;
mod simulate;
mod submit;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use errors::Failure;
use output::Format;

/// Many small messages are made and dropped on every transaction: the system's allocator is a tenth of the cost.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Writes on several nodes, all of them or none.
#[derive(Parser, Debug)]
#[command(name = "handfast", version, arg_required_else_help = true)]
struct Cli {
    /// How to print: tables for people, JSON for machines.
    #[arg(short, long, value_enum, default_value_t = Format::Table, global = true)]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Runs a coordinator.
    Coordinator(serve::CoordinatorArgs),
    /// Runs a participant over the embedded store.
    Participant(serve::ParticipantArgs),
    /// Submits transactions, one per input line.
    Submit(submit::SubmitArgs),
    /// Tells what became of keys.
    Outcome(outcome::OutcomeArgs),
    /// Lists and shows transactions.
    #[command(subcommand)]
    Txn(inspect::TxnCommand),
    /// Reads last committed values of a participant.
    #[command(subcommand)]
    Kv(inspect::KvCommand),
    /// Lists the participants a coordinator counts on; the way out when one is gone for good.
    #[command(subcommand)]
    Registry(registry::RegistryCommand),
    /// Reads the files of a stopped system and proves that they fit together.
    Verify(verify::VerifyArgs),
    /// Moves money between processes of its own while it kills them.
    Demo(demo::DemoArgs),
    /// Runs seeded worlds in which everything fails that can, and checks every promise.
    Simulate(simulate::SimulateArgs),
    /// Explains an error code such as HF0103.
    Explain {
        /// The code.
        code: String,
    },
}

/// Runs the command on this process's arguments.
#[must_use]
pub fn run() -> ExitCode {
    #[cfg(feature = "failpoints")]
    handfast_common::failpoints::arm();
    run_with(std::env::args_os())
}

fn run_with(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; usage is exit code 2.
            let code = error.exit_code();
            drop(error.print());
            return ExitCode::from(u8::try_from(code).unwrap_or(2));
        }
    };
    match dispatch(cli) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.exit)
        }
    }
}

fn dispatch(cli: Cli) -> Result<u8, Failure> {
    match cli.command {
        Command::Coordinator(args) => serve::coordinator(&args),
        Command::Participant(args) => serve::participant(&args),
        Command::Submit(args) => submit::run(&args),
        Command::Outcome(args) => outcome::run(&args, cli.output),
        Command::Txn(command) => inspect::txn(&command, cli.output),
        Command::Kv(command) => inspect::kv(&command, cli.output),
        Command::Registry(command) => registry::run(&command, cli.output),
        Command::Verify(args) => verify::run(&args, cli.output),
        Command::Demo(args) => demo::run(&args, cli.output).map_err(Failure::other),
        Command::Simulate(args) => simulate::run(&args, cli.output),
        Command::Explain { code } => errors::explain(&code, cli.output),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
