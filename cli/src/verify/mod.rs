//! `handfast verify`: reads the files of a stopped or crashed system and proves that they fit together, or shows what
//! does not. Nothing is changed: what a start would do is only told.

mod evidence;
mod expect;
mod prove;
mod read;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use handfast_common::storage::StorageError;

use crate::errors::{Failure, exit};
use crate::output::{Format, print_rows};
use expect::{Expected, expect};
use prove::{Evidence, Finding, prove};
use read::ReadError;

/// Proves A1 to A4, A9 and A10 over the files of a stopped system.
#[derive(Args, Clone, Debug)]
pub(crate) struct VerifyArgs {
    /// A coordinator's data folder; may be repeated.
    #[arg(long = "coordinator", value_name = "DIR", num_args = 1..)]
    coordinators: Vec<PathBuf>,
    /// A participant's data folder; may be repeated.
    #[arg(long = "participant", value_name = "DIR", num_args = 1..)]
    participants: Vec<PathBuf>,
    /// Where copies are made; in memory if it is not given.
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Shows every transaction, also those that have ended.
    #[arg(long)]
    all: bool,
}

pub(crate) fn run(args: &VerifyArgs, format: Format) -> Result<u8, Failure> {
    if args.coordinators.is_empty() && args.participants.is_empty() {
        let why = "give at least one data folder: --coordinator DIR... --participant DIR...";
        return Err(Failure::new("HF0601", exit::USAGE, "nothing to verify", why));
    }
    let scratch = args.scratch.as_deref();
    let mut evidence = Evidence::default();
    for folder in &args.coordinators {
        evidence.coordinators.push(read::coordinator(folder, scratch).map_err(|error| failure(&error))?);
    }
    for folder in &args.participants {
        evidence.participants.push(read::participant(folder, scratch).map_err(|error| failure(&error))?);
    }
    let findings = prove(&evidence);
    let expected = expect(&evidence);
    print(&evidence, &findings, &expected, args.all, format)?;
    if findings.is_empty() { Ok(0) } else { Ok(exit::INTEGRITY) }
}

fn failure(error: &ReadError) -> Failure {
    match error {
        ReadError::Storage(StorageError::InUse { folder }) => {
            let what = format!("{}: a process runs on it", folder.display());
            Failure::new("HF0101", exit::CONFLICT, what, "a copy of a file that is being written proves nothing")
        }
        ReadError::Storage(StorageError::Io { file, doing, source }) => {
            let what = format!("can't look at {}", file.display());
            Failure::new("HF0401", exit::CONFIGURATION, what, format!("could not {doing}: {source}"))
        }
        ReadError::Storage(error) => {
            let exit = u8::try_from(error.exit_code()).unwrap_or(exit::INTEGRITY);
            Failure::new(error.code(), exit, error.to_string(), "")
        }
        ReadError::Records { .. } => Failure::new("HF0201", exit::INTEGRITY, error.to_string(), ""),
    }
}

fn print(
    evidence: &Evidence,
    findings: &[Finding],
    expected: &[Expected],
    all: bool,
    format: Format,
) -> Result<(), Failure> {
    let shown: Vec<&Expected> = expected.iter().filter(|row| all || !row.ended).collect();
    let summary = Summary {
        schema_version: 1,
        coordinators: evidence.coordinators.len(),
        participants: evidence.participants.len(),
        transactions: expected.len(),
        in_doubt: expected.iter().filter(|row| row.state == "in-doubt").count(),
        findings: findings.len(),
    };
    match format {
        Format::Json => {
            for row in shown {
                println!("{}", serde_json::to_string(row).map_err(Failure::other)?);
            }
            for row in findings {
                println!("{}", serde_json::to_string(row).map_err(Failure::other)?);
            }
            println!("{}", serde_json::to_string(&summary).map_err(Failure::other)?);
        }
        Format::Table => {
            let columns = ["transaction", "state", "coordinator", "participants", "at the next start"];
            let cells = |row: &&Expected| {
                let said: Vec<String> = row.branches.iter().map(|(name, says)| format!("{name}: {says}")).collect();
                vec![row.txn.clone(), row.state.to_owned(), row.coordinator.clone(), said.join("\n"), row.next.clone()]
            };
            print_rows(format, &columns, &shown, cells).map_err(Failure::other)?;
            for Finding { promise, txn, what } in findings {
                let txn = txn.as_ref().map_or_else(String::new, |txn| format!(" transaction {txn}:"));
                println!("{promise} is broken:{txn} {what}");
            }
            let Summary { transactions, in_doubt, findings, .. } = summary;
            println!("{transactions} transactions, {in_doubt} in doubt, {findings} counterexamples");
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct Summary {
    schema_version: u32,
    coordinators: usize,
    participants: usize,
    transactions: usize,
    in_doubt: usize,
    findings: usize,
}
