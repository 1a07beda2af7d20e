//! `handfast outcome`: what became of keys.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use handfast_client::{Client, Options, Outcome, Question};
use handfast_common::ids::{Key, Name, Ticket};

use crate::errors::{Failure, exit};
use crate::output::{Format, print_rows};

/// Which coordinator to call, and for how long.
#[derive(Args, Clone, Debug)]
pub(crate) struct ClientArgs {
    /// A coordinator's address; may be repeated.
    #[arg(
        long = "coordinator",
        env = "HANDFAST_COORDINATOR",
        value_delimiter = ',',
        default_value = "127.0.0.1:7117",
        value_name = "HOST:PORT"
    )]
    pub(crate) coordinators: Vec<String>,
    /// Milliseconds after which a call ends, as unknown if need be.
    #[arg(long, default_value_t = 10_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub(crate) deadline: u64,
}

impl ClientArgs {
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let options = Options { coordinators: self.coordinators.clone(), ..Options::default() };
        Client::connect(options).map_err(|error| Failure::client(&error))
    }

    pub(crate) fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline)
    }
}

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
    let questions: Vec<Question> =
        args.keys.iter().map(|text| question(text, &args.participants)).collect::<Result<_, _>>()?;
    let client = args.client.client()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::other)?;
    let mut lines = Vec::new();
    let mut worst = 0;
    for question in &questions {
        let report = runtime
            .block_on(client.outcome(question, args.client.deadline()))
            .map_err(|error| Failure::client(&error))?;
        worst = worse(worst, exit_of(&report.outcome));
        lines.push(Line {
            key: report.key.to_string(),
            ticket: report.ticket.map(|ticket| ticket.to_string()),
            txn: report.txn.map(|txn| txn.to_string()),
            outcome: name_of(&report.outcome),
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
fn question(text: &str, participants: &[Name]) -> Result<Question, Failure> {
    let wrong = |why: String| Failure::new("HF0504", exit::USAGE, format!("can't ask for '{text}'"), why);
    let (key, ticket) = text.split_once('@').map_or((text, None), |(key, ticket)| (key, Some(ticket)));
    let key = uuid::Uuid::try_parse(key).map_err(|_| wrong("the key is not a UUID".to_owned()))?;
    let ticket: Option<Ticket> =
        ticket.map(str::parse).transpose().map_err(|error: handfast_common::ids::ParseError| wrong(error.to_string()))?;
    Ok(Question { key: Key(key), ticket, participants: participants.to_vec() })
}

pub(crate) fn name_of(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Committed(_) => "committed",
        Outcome::Aborted(_) => "aborted",
        Outcome::Unknown => "unknown",
        Outcome::Forgotten => "forgotten",
        Outcome::NotFound => "not-found",
        Outcome::HeuristicMixed => "heuristic-mixed",
    }
}

pub(crate) fn reason_of(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Aborted(reason) => Some(reason.to_string()),
        Outcome::Committed(_)
        | Outcome::Unknown
        | Outcome::Forgotten
        | Outcome::NotFound
        | Outcome::HeuristicMixed => None,
    }
}

fn exit_of(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Committed(_) => 0,
        Outcome::Aborted(_) => exit::ABORTED,
        Outcome::Unknown | Outcome::HeuristicMixed => exit::UNKNOWN,
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
        assert!(question(key, &[]).unwrap().ticket.is_none());
        let ticket = "00000000000000000000000000000001.3.00000000000000ff.17";
        let asked = question(&format!("{key}@{ticket}"), &[]).unwrap();
        assert_eq!(asked.ticket.unwrap().sequence, 17);
        assert_eq!(question("nonsense", &[]).unwrap_err().exit, 2);
        assert_eq!(question(&format!("{key}@x"), &[]).unwrap_err().exit, 2);
    }

    #[test]
    fn the_worst_answer_decides() {
        assert_eq!([0, 4, 0].into_iter().fold(0, worse), 4);
        assert_eq!([4, 3, 5, 0].into_iter().fold(0, worse), 5);
    }
}
