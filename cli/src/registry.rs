//! `handfast registry`: the participants a coordinator counts on, and the way out when one is gone for good.

use clap::{Args, Subcommand};
use serde::Serialize;

use handfast_common::ids::Name;
use handfast_common::limits::MAX_REASON_BYTES;
use handfast_client::OrderError;
use handfast_common::messages::{RegistryAct, RegistryAnswer, RegistryLine, RegistryOrder};

use crate::client::ClientArgs;
use crate::errors::{Failure, exit};
use crate::output::{Format, print_rows};

/// `handfast registry ...`
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum RegistryCommand {
    /// Lists all participants that a coordinator knows, and those that an operator has removed.
    List(ListArgs),
    /// Forgets a participant that is gone for good: another store may register under its name.
    Remove(RemoveArgs),
    /// Lets inquiries go on that wait for a participant, until the coordinator's next start.
    Release(ReleaseArgs),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct RemoveArgs {
    /// The participant's name.
    name: String,
    /// Why; recorded in the decision log before anything happens.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Also when it is connected and well, or has not acknowledged commits: those stay listed for ever.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ReleaseArgs {
    /// The participant's name.
    name: String,
    /// Why; recorded in the decision log before anything happens.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    client: ClientArgs,
}

pub(crate) fn run(command: &RegistryCommand, format: Format) -> Result<u8, Failure> {
    match command {
        RegistryCommand::List(args) => list(args, format),
        RegistryCommand::Remove(args) => {
            let order = order(RegistryAct::Remove, &args.name, &args.reason, args.force)?;
            carry_out(order, &args.client, format)
        }
        RegistryCommand::Release(args) => {
            let order = order(RegistryAct::Release, &args.name, &args.reason, false)?;
            carry_out(order, &args.client, format)
        }
    }
}

fn list(args: &ListArgs, format: Format) -> Result<u8, Failure> {
    let client = args.client.client()?;
    let lines = crate::client::block_on(client.registry(args.client.deadline()))?;
    let rows: Vec<Row> = lines.iter().map(row_of).collect();
    let columns = ["name", "state", "store", "sequence", "address", "unacknowledged", "waited for", "why"];
    print_rows(format, &columns, &rows, |row| {
        vec![
            row.name.clone(),
            row.state.clone(),
            row.store.clone(),
            row.sequence.to_string(),
            row.address.clone(),
            row.unacknowledged.to_string(),
            if row.waited_for { "yes" } else { "" }.to_owned(),
            row.why.clone().unwrap_or_default(),
        ]
    })
    .map_err(Failure::other)?;
    Ok(0)
}

fn order(act: RegistryAct, name: &str, reason: &str, force: bool) -> Result<RegistryOrder, Failure> {
    let wrong = |what: String, why: String| Failure::new("HF0507", exit::USAGE, what, why);
    let name = Name::new(name).map_err(|error| wrong("wrong name".to_owned(), error.to_string()))?;
    let reason = reason.trim();
    if reason.is_empty() || reason.len() > MAX_REASON_BYTES {
        let why = format!("it is one line of 1 to {MAX_REASON_BYTES} bytes, for whoever reads the log one day");
        return Err(wrong("wrong --reason".to_owned(), why));
    }
    Ok(RegistryOrder { act, name, reason: reason.to_owned(), force })
}

fn carry_out(order: RegistryOrder, args: &ClientArgs, format: Format) -> Result<u8, Failure> {
    let done = Done { schema_version: 1, name: order.name.to_string(), done: done_name(order.act) };
    let client = args.client()?;
    let RegistryOrder { act, name, reason, force } = order;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::other)?;
    match runtime.block_on(client.order_registry(act, name, reason, force, args.deadline())).map_err(failure)? {
        RegistryAnswer::Done => {
            match format {
                Format::Json => println!("{}", serde_json::to_string(&done).map_err(Failure::other)?),
                Format::Table => println!("{} {}", done.name, done.done),
            }
            Ok(0)
        }
        RegistryAnswer::NotFound => {
            let what = format!("no participant '{}' is registered", done.name);
            Err(Failure::new("HF0508", exit::NOT_FOUND, what, ""))
        }
        RegistryAnswer::Refused(why) => {
            let what = format!("participant '{}' was not {}", done.name, done.done);
            Err(Failure::new("HF0509", exit::CONFLICT, what, why))
        }
    }
}

fn failure(error: OrderError) -> Failure {
    let what = "the order may not have been carried out";
    match error {
        OrderError::Invalid(why) => Failure::new("HF0507", exit::USAGE, "an order that can't be given", why),
        OrderError::NotSent(why) => Failure::new("HF0301", exit::UNAVAILABLE, "nothing was sent", why.to_string()),
        OrderError::NoAnswer(_) => Failure::new("HF0510", exit::UNKNOWN, what, error.to_string()),
    }
}

fn done_name(act: RegistryAct) -> &'static str {
    match act {
        RegistryAct::Remove => "removed",
        RegistryAct::Release => "released",
    }
}

#[derive(Serialize)]
struct Done {
    schema_version: u32,
    name: String,
    done: &'static str,
}

/// A line of `registry list`.
#[derive(Serialize)]
struct Row {
    name: String,
    state: String,
    store: String,
    incarnation: Option<String>,
    sequence: u64,
    address: String,
    unacknowledged: u64,
    waited_for: bool,
    why: Option<String>,
}

fn row_of(line: &RegistryLine) -> Row {
    Row {
        name: line.name.to_string(),
        state: line.state.clone(),
        store: line.store.0.to_string(),
        incarnation: line.incarnation.map(|incarnation| format!("{:016x}", incarnation.0)),
        sequence: line.sequence,
        address: line.address.clone(),
        unacknowledged: line.unacknowledged,
        waited_for: line.waited_for,
        why: line.why.clone(),
    }
}
