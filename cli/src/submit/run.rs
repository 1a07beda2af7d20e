//! A run of `submit`: what is shared by its workers.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde::Serialize;
use tokio::sync::Notify;
use uuid::Uuid;

use handfast_client::{Client, Error, Outcome, Report, Retry};
use handfast_common::ids::{Key, Name, Ticket};
use handfast_common::operation::Value;
use handfast_common::outcome::{Reason, ReasonKind};

use super::input::Asked;
use super::resume::{Earlier, Journal};
use crate::errors::exit;
use crate::outcome::reason_of;

/// Counts, output and the client of one run.
pub(super) struct Run {
    client: Client,
    deadline: Duration,
    earlier: Earlier,
    journal: Option<RefCell<Journal>>,
    bar: Option<ProgressBar>,
    stopping: Cell<bool>,
    stopped: Notify,
    counts: RefCell<Counts>,
}

#[derive(Default)]
struct Counts {
    committed: u64,
    aborted: u64,
    unknown: u64,
    other: u64,
    bad: u64,
    skipped: u64,
    unavailable: bool,
}

/// An output line.
#[derive(Serialize)]
struct Line<'a> {
    line: u64,
    key: String,
    ticket: Option<String>,
    txn: Option<String>,
    outcome: &'a str,
    reason: Option<String>,
    reads: Vec<ReadRow>,
    latency_us: u128,
}

#[derive(Serialize)]
struct ReadRow {
    participant: String,
    key: String,
    value: Option<Value>,
}

impl Run {
    pub(super) fn new(
        client: Client,
        deadline: Duration,
        earlier: Earlier,
        journal: Option<Journal>,
        bar: Option<ProgressBar>,
    ) -> Self {
        Self {
            client,
            deadline,
            earlier,
            journal: journal.map(RefCell::new),
            bar,
            stopping: Cell::new(false),
            stopped: Notify::new(),
            counts: RefCell::new(Counts::default()),
        }
    }

    /// Takes no more lines; those under way end.
    pub(super) fn stop(&self, why: &str) {
        if !self.stopping.replace(true) {
            self.say(why);
        }
        self.stopped.notify_waiters();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    pub(super) async fn stopped(&self) {
        let notified = self.stopped.notified();
        if !self.stopping.get() {
            notified.await;
        }
    }

    /// Carries out one line and prints its outcome.
    pub(super) async fn line(&self, line: u64, asked: Result<Asked, String>) {
        let asked = match asked {
            Ok(asked) => asked,
            Err(why) => return self.bad(line, &why),
        };
        if self.earlier.answered.contains_key(&line) {
            self.counts.borrow_mut().skipped += 1;
            return;
        }
        let began = Instant::now();
        let done = match self.earlier.open.get(&line) {
            Some(&(key, ticket)) => self.take_up(line, &asked, key, ticket).await,
            None => self.begin(line, &asked).await,
        };
        match done {
            Ok(report) => self.print(line, &report, began.elapsed()),
            Err(error) => self.failed(line, &error),
        }
    }

    /// A line that an earlier run sent: asked for first, and run anew only if that one certainly never happened.
    async fn take_up(&self, line: u64, asked: &Asked, key: Key, ticket: Ticket) -> Result<Report, Error> {
        let report = self.ask(key, ticket, asked.participants.clone()).await?;
        let never_arrived = match &report.outcome {
            Outcome::Aborted(Reason { kind, .. }) => kind.is_retryable() || *kind == ReasonKind::Fenced,
            _ => false,
        };
        if never_arrived && asked.key.is_none() { self.begin(line, asked).await } else { Ok(report) }
    }

    async fn ask(&self, key: Key, ticket: Ticket, participants: Vec<Name>) -> Result<Report, Error> {
        self.client.outcome(key, Some(ticket), participants, self.deadline).await
    }

    /// A line that has not been sent before, as far as is known.
    async fn begin(&self, line: u64, asked: &Asked) -> Result<Report, Error> {
        let mut transaction = asked.transaction.clone();
        if let Some(key) = asked.key {
            transaction = transaction.key(key);
        }
        if let Some(ticket) = asked.ticket {
            transaction = transaction.ticket(ticket);
        }
        if self.journal.is_none() || asked.ticket.is_some() {
            return self.client.submit(transaction, self.deadline).await;
        }
        let latest = Instant::now() + self.deadline;
        let mut attempts = 0;
        loop {
            let left = latest.saturating_duration_since(Instant::now());
            let key = asked.key.unwrap_or_else(|| Key(Uuid::new_v4()));
            let ticket = self.client.standing(None, left).await?;
            self.note(line, key, ticket);
            let report = self.client.submit(transaction.clone().key(key).ticket(ticket), left).await?;
            attempts += 1;
            let again = match &report.outcome {
                Outcome::Aborted(reason) => (Retry::DEFAULT.when)(reason.kind) && asked.key.is_none(),
                _ => false,
            };
            if !again || attempts > Retry::DEFAULT.most || Instant::now() >= latest {
                return Ok(report);
            }
            if let Some(age) = report.age {
                transaction = transaction.age(age);
            }
        }
    }

    fn note(&self, line: u64, key: Key, ticket: Ticket) {
        if let Some(journal) = &self.journal
            && let Err(error) = journal.borrow_mut().note(line, key, ticket)
        {
            self.stop(&format!("the journal beside --resume can't be written: {error}"));
        }
    }

    fn print(&self, line: u64, report: &Report, latency: Duration) {
        let reads = report.reads().unwrap_or_default();
        let text = serde_json::to_string(&Line {
            line,
            key: report.key.to_string(),
            ticket: report.ticket.map(|ticket| ticket.to_string()),
            txn: report.txn.map(|txn| txn.to_string()),
            outcome: report.outcome.name(),
            reason: reason_of(&report.outcome),
            reads: reads
                .into_iter()
                .map(|read| ReadRow { participant: read.participant.to_string(), key: read.key, value: read.value })
                .collect(),
            latency_us: latency.as_micros(),
        });
        {
            let mut counts = self.counts.borrow_mut();
            match report.outcome {
                Outcome::Committed(_) => counts.committed += 1,
                Outcome::Aborted(_) => counts.aborted += 1,
                Outcome::Unknown(_) => counts.unknown += 1,
                Outcome::Forgotten | Outcome::NotFound | Outcome::HeuristicMixed => counts.other += 1,
            }
            if let Some(bar) = &self.bar {
                bar.inc(1);
                bar.set_message(format!("{} committed, {} aborted", counts.committed, counts.aborted));
            }
        }
        let written = text.map_err(std::io::Error::from).and_then(|text| writeln!(std::io::stdout().lock(), "{text}"));
        if let Err(error) = written {
            self.stop(&format!("stdout can't be written: {error}"));
        }
    }

    fn failed(&self, line: u64, error: &Error) {
        match error {
            Error::NotSent { .. } | Error::NoAnswer(_) => {
                self.counts.borrow_mut().unavailable = true;
                self.stop(&format!("line {line}: {error}; it and those after it were not sent"));
            }
            Error::Invalid(_) => self.bad(line, &error.to_string()),
            Error::Rejected { rejection, .. } if rejection.is_retryable() => {
                self.counts.borrow_mut().unavailable = true;
                self.stop(&format!("line {line}: {error}; it was not begun"));
            }
            Error::Rejected { .. } => self.bad(line, &error.to_string()),
        }
    }

    fn bad(&self, line: u64, why: &str) {
        self.counts.borrow_mut().bad += 1;
        let at = if line == 0 { "header".to_owned() } else { format!("line {line}") };
        self.say(&format!("{at}: {why}"));
    }

    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    /// The summary on stderr, and the exit code.
    pub(super) fn summary(&self, took: Duration) -> u8 {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let counts = self.counts.borrow();
        let mut parts = vec![format!("{} committed", counts.committed), format!("{} aborted", counts.aborted)];
        for (count, what) in [
            (counts.unknown, "unknown"),
            (counts.other, "forgotten or decided by hand"),
            (counts.bad, "bad"),
            (counts.skipped, "answered before"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        let seconds = took.as_secs_f64();
        let rate = counts.committed as f64 / seconds.max(0.001);
        eprintln!("{} in {seconds:.1} s ({rate:.0} committed per second)", parts.join(", "));
        if counts.unavailable {
            exit::UNAVAILABLE
        } else if counts.unknown > 0 {
            exit::UNKNOWN
        } else if counts.bad > 0 {
            exit::OTHER
        } else {
            0
        }
    }
}
