//! `handfast outcome`: what became of keys.

use clap::Args;
use serde::Serialize;

use handfast_client::Outcome;
use handfast_common::ids::{Key, Name, Ticket};

use crate::client::ClientArgs;
use crate::errors::{Failure, exit};
use crate::output::{Format, print_rows};

/// Tells what became of keys.
#[derive(Args, Clone, Debug)]
pub(crate) struct OutcomeArgs {
    /// A key, with its ticket if it is to be answered for good.
    #[arg(required = true, value_name = "KEY[@TICKET]")]
    keys: Vec<String>,
    /// A participant of these transactions; may be repeated. Fewer to wait for after a restart.
    #[arg(long = "participant", value_name = "NAME")]
    participants: Vec<Name>,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Serialize)]
struct Line {
    key: String,
    ticket: Option<String>,
    txn: Option<String>,
    outcome: &'static str,
    reason: Option<String>,
}

pub(crate) fn run(args: &OutcomeArgs, format: Format) -> Result<u8, Failure> {
    let questions: Vec<(Key, Option<Ticket>)> =
        args.keys.iter().map(|text| key_and_ticket(text)).collect::<Result<_, _>>()?;
    let client = args.client.client()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::other)?;
    let mut lines = Vec::new();
    let mut worst = 0;
    for (key, ticket) in questions {
        let asking = client.outcome(key, ticket, args.participants.clone(), args.client.deadline());
        let report = runtime.block_on(asking).map_err(|error| Failure::client(&error))?;
        worst = worse(worst, exit_of(&report.outcome));
        lines.push(Line {
            key: report.key.to_string(),
            ticket: report.ticket.map(|ticket| ticket.to_string()),
            txn: report.txn.map(|txn| txn.to_string()),
            outcome: report.outcome.name(),
            reason: reason_of(&report.outcome),
        });
    }
    print_rows(format, &["key", "transaction", "outcome", "reason"], &lines, |line| {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        vec![line.key.clone(), text(&line.txn), line.outcome.to_owned(), text(&line.reason)]
    })
    .map_err(Failure::other)?;
    Ok(worst)
}

/// Reads `KEY` or `KEY@TICKET`.
fn key_and_ticket(text: &str) -> Result<(Key, Option<Ticket>), Failure> {
    let wrong = |why: String| Failure::new("HF0504", exit::USAGE, format!("can't ask for '{text}'"), why);
    let (key, ticket) = text.split_once('@').map_or((text, None), |(key, ticket)| (key, Some(ticket)));
    let key = uuid::Uuid::try_parse(key).map_err(|_| wrong("the key is not a UUID".to_owned()))?;
    let ticket: Result<Option<Ticket>, _> = ticket.map(str::parse).transpose();
    let ticket = ticket.map_err(|error: handfast_common::ids::ParseError| wrong(error.to_string()))?;
    Ok((Key(key), ticket))
}

pub(crate) fn reason_of(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Aborted(reason) => Some(reason.to_string()),
        Outcome::Unknown(why) => Some(why.clone()),
        Outcome::Committed(_) | Outcome::Forgotten | Outcome::NotFound | Outcome::HeuristicMixed => None,
    }
}

fn exit_of(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Committed(_) => 0,
        Outcome::Aborted(_) => exit::ABORTED,
        Outcome::Unknown(_) | Outcome::HeuristicMixed => exit::UNKNOWN,
        Outcome::Forgotten | Outcome::NotFound => exit::NOT_FOUND,
    }
}

/// The worse of two: what is not known is worse than what is not there, and that than what did not happen.
fn worse(one: u8, other: u8) -> u8 {
    let rank = |code: u8| match code {
        0 => 0,
        exit::ABORTED => 1,
        exit::NOT_FOUND => 2,
        _ => 3,
    };
    if rank(other) > rank(one) { other } else { one }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_tickets_are_read() {
        let key = "6f1ed002-ab55-4a44-8d3f-0f4f0c1a3c11";
        assert!(key_and_ticket(key).unwrap().1.is_none());
        let ticket = "00000000000000000000000000000001.3.00000000000000ff.17";
        let (_, asked) = key_and_ticket(&format!("{key}@{ticket}")).unwrap();
        assert_eq!(asked.unwrap().sequence, 17);
        assert_eq!(key_and_ticket("nonsense").unwrap_err().exit, 2);
        assert_eq!(key_and_ticket(&format!("{key}@x")).unwrap_err().exit, 2);
    }

    #[test]
    fn the_worst_answer_decides() {
        assert_eq!([0, 4, 0].into_iter().fold(0, worse), 4);
        assert_eq!([4, 3, 5, 0].into_iter().fold(0, worse), 5);
    }
}
