//! `handfast txn` and `handfast kv`: looking, never changing.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde::Serialize;
use uuid::Uuid;

use handfast_client::{Client, Error as ClientError, Filter, ParticipantClient};
use handfast_common::ids::TxnId;
use handfast_common::messages::{Select, TxnLine, ValueLine};
use handfast_common::operation::Value;

use crate::client::ClientArgs;
use crate::errors::{Failure, exit};
use crate::output::{Format, print_rows};

/// How often `--wait` looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// States that a listing may show; docs/concepts.md explains them.
const STATES: [&str; 11] = [
    "active",
    "working",
    "preparing",
    "read-only",
    "in-doubt",
    "committing",
    "aborting",
    "committed",
    "aborted",
    "forgotten",
    "heuristic-mixed",
];

/// `handfast txn ...`
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum TxnCommand {
    /// Lists transactions that have not ended: a coordinator's, or a participant's own branches.
    List(ListArgs),
    /// Shows one transaction, ended or not.
    Show(ShowArgs),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ListArgs {
    /// Asks this participant for its own branches; works without any coordinator.
    #[arg(long, value_name = "HOST:PORT")]
    participant: Option<String>,
    /// Only those in this state, `in-doubt` for example; may be repeated. `committed` and `aborted` show ended ones.
    #[arg(long = "state", value_delimiter = ',', value_parser = clap::builder::PossibleValuesParser::new(STATES))]
    states: Vec<String>,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ShowArgs {
    /// The transaction's id, or its first 8 digits or more.
    txn: String,
    /// Asks this participant instead of the coordinator.
    #[arg(long, value_name = "HOST:PORT")]
    participant: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
}

/// `handfast kv ...`
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum KvCommand {
    /// Reads keys.
    Get {
        /// The keys.
        #[arg(required = true)]
        keys: Vec<String>,
        #[command(flatten)]
        from: FromArgs,
    },
    /// Reads all keys with a prefix, in order.
    Scan {
        /// The prefix; empty for all.
        #[arg(long, default_value = "")]
        prefix: String,
        #[command(flatten)]
        from: FromArgs,
    },
}

#[derive(Args, Clone, Debug)]
pub(crate) struct FromArgs {
    /// The participant that holds them.
    #[arg(long, value_name = "HOST:PORT")]
    participant: String,
    /// Waits until no transaction in doubt holds them.
    #[arg(long)]
    wait: bool,
    /// Milliseconds after which the call ends.
    #[arg(long, default_value_t = 10_000, value_name = "MS")]
    deadline: u64,
}

pub(crate) fn txn(command: &TxnCommand, format: Format) -> Result<u8, Failure> {
    match command {
        TxnCommand::List(args) => list(args, format),
        TxnCommand::Show(args) => show(args, format),
    }
}

fn list(args: &ListArgs, format: Format) -> Result<u8, Failure> {
    let ended = args
        .states
        .iter()
        .any(|state| matches!(state.as_str(), "committed" | "aborted" | "forgotten" | "heuristic-mixed"));
    let filter = Filter { ended, ..Filter::default() };
    let mut lines = transactions(args.participant.as_deref(), &args.client, filter)?;
    lines.retain(|line| args.states.is_empty() || args.states.contains(&line.state));
    print_transactions(format, &lines)?;
    Ok(0)
}

fn show(args: &ShowArgs, format: Format) -> Result<u8, Failure> {
    let within = range(&args.txn)?;
    let filter = Filter { within: Some(within), ended: true };
    let lines = transactions(args.participant.as_deref(), &args.client, filter)?;
    match lines.as_slice() {
        [] => Err(Failure::new("HF0501", exit::NOT_FOUND, format!("no transaction '{}'", args.txn), "")),
        [line] if format == Format::Json => {
            let one = Single { schema_version: 1, row: row_of(line) };
            println!("{}", serde_json::to_string(&one).map_err(Failure::other)?);
            Ok(0)
        }
        [_] => {
            print_transactions(format, &lines)?;
            Ok(0)
        }
        several => {
            let ids = several.iter().take(3).map(|line| line.txn.to_string()).collect::<Vec<_>>().join(", ");
            Err(Failure::new("HF0502", exit::USAGE, format!("'{}' is not unique", args.txn), format!("{ids} ...")))
        }
    }
}

/// The ids that begin with these digits.
fn range(text: &str) -> Result<(TxnId, TxnId), Failure> {
    let digits: String = text.chars().filter(|character| *character != '-').collect();
    let hexadecimal = digits.chars().all(|character| character.is_ascii_hexdigit());
    if !hexadecimal || !(8..=32).contains(&digits.len()) {
        let why = "it is a UUID, or 8 or more of its digits".to_owned();
        return Err(Failure::new("HF0504", exit::USAGE, format!("'{text}' is no transaction id"), why));
    }
    let fill = |digit: &str| {
        let whole = format!("{digits}{}", digit.repeat(32 - digits.len()));
        Uuid::try_parse(&whole).map(TxnId).map_err(Failure::other)
    };
    Ok((fill("0")?, fill("f")?))
}

fn transactions(participant: Option<&str>, client: &ClientArgs, filter: Filter) -> Result<Vec<TxnLine>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::other)?;
    let deadline = client.deadline();
    let asked: Result<Vec<TxnLine>, ClientError> = match participant {
        Some(address) => {
            runtime.block_on(async { ParticipantClient::connect(address)?.branches(filter, deadline).await })
        }
        None => {
            let client: Client = client.client()?;
            runtime.block_on(client.list(filter, deadline))
        }
    };
    asked.map_err(|error| Failure::client(&error))
}

/// One object, not a line of a list.
#[derive(Serialize)]
struct Single {
    schema_version: u32,
    #[serde(flatten)]
    row: TxnRow,
}

#[derive(Serialize)]
struct TxnRow {
    txn: String,
    key: Option<String>,
    state: String,
    since_ms: u64,
    branches: Vec<BranchRow>,
}

#[derive(Serialize)]
struct BranchRow {
    participant: String,
    vote: Option<String>,
    state: String,
}

fn print_transactions(format: Format, lines: &[TxnLine]) -> Result<(), Failure> {
    let rows: Vec<TxnRow> = lines.iter().map(row_of).collect();
    print_rows(format, &["transaction", "key", "state", "for", "branches"], &rows, |row| {
        let branches: Vec<String> =
            row.branches.iter().map(|branch| format!("{} {}", branch.participant, branch.state)).collect();
        vec![
            row.txn.clone(),
            row.key.clone().unwrap_or_default(),
            row.state.clone(),
            format!("{} ms", row.since_ms),
            branches.join("\n"),
        ]
    })
    .map_err(Failure::other)
}

fn row_of(line: &TxnLine) -> TxnRow {
    let branches = line.branches.iter().map(|branch| BranchRow {
        participant: branch.participant.to_string(),
        vote: branch.vote.clone(),
        state: branch.state.clone(),
    });
    TxnRow {
        txn: line.txn.to_string(),
        key: line.key.map(|key| key.to_string()),
        state: line.state.clone(),
        since_ms: line.since_ms,
        branches: branches.collect(),
    }
}

pub(crate) fn kv(command: &KvCommand, format: Format) -> Result<u8, Failure> {
    let (selects, from) = match command {
        KvCommand::Get { keys, from } => (keys.iter().cloned().map(Select::Key).collect(), from),
        KvCommand::Scan { prefix, from } => (vec![Select::Prefix(prefix.clone())], from),
    };
    let one_by_one = matches!(command, KvCommand::Get { .. });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::other)?;
    let lines = runtime.block_on(read(&selects, from)).map_err(|error| Failure::client(&error))?;
    let missing = one_by_one && lines.iter().any(|line| line.value.is_none());
    let still_held = from.wait && lines.iter().any(|line| line.locked_by.is_some());
    print_values(format, &lines)?;
    Ok(match (still_held, missing) {
        (true, _) => exit::UNKNOWN,
        (false, true) => exit::NOT_FOUND,
        (false, false) => 0,
    })
}

async fn read(selects: &Vec<Select>, from: &FromArgs) -> Result<Vec<ValueLine>, ClientError> {
    let deadline = Duration::from_millis(from.deadline);
    let latest = Instant::now() + deadline;
    let client = ParticipantClient::connect(&from.participant)?;
    loop {
        let mut lines = Vec::new();
        for select in selects {
            let found = client.values(select.clone(), deadline).await?;
            match (select, found.is_empty()) {
                (Select::Key(key), true) => lines.push(ValueLine { key: key.clone(), value: None, locked_by: None }),
                (Select::Key(_) | Select::Prefix(_), _) => lines.extend(found),
            }
        }
        let held = lines.iter().any(|line| line.locked_by.is_some());
        if !from.wait || !held || Instant::now() >= latest {
            return Ok(lines);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

#[derive(Serialize)]
struct ValueRow<'a> {
    key: &'a str,
    value: &'a Option<Value>,
    locked_by: Option<String>,
}

fn print_values(format: Format, lines: &[ValueLine]) -> Result<(), Failure> {
    let rows: Vec<ValueRow<'_>> = lines
        .iter()
        .map(|line| ValueRow {
            key: &line.key,
            value: &line.value,
            locked_by: line.locked_by.map(|txn| txn.to_string()),
        })
        .collect();
    print_rows(format, &["key", "value", "locked by"], &rows, |row| {
        let value = match row.value {
            Some(Value::Integer(value)) => value.to_string(),
            Some(Value::Text(value)) => value.clone(),
            None => "(absent)".to_owned(),
        };
        vec![row.key.to_owned(), value, row.locked_by.clone().unwrap_or_default()]
    })
    .map_err(Failure::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_range_of_ids() {
        let (first, last) = range("7f3a00aa").unwrap();
        assert_eq!(first.to_string(), "7f3a00aa-0000-0000-0000-000000000000");
        assert_eq!(last.to_string(), "7f3a00aa-ffff-ffff-ffff-ffffffffffff");
        let whole = "7f3a00aa-0001-8000-8000-000004da8d7a";
        let (first, last) = range(whole).unwrap();
        assert_eq!((first, first.to_string().as_str()), (last, whole));
        for bad in ["", "7f3a", "nonsense", "7f3a00aag"] {
            assert_eq!(range(bad).unwrap_err().exit, 2, "{bad}");
        }
    }
}
