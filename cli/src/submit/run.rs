//! A run of `submit`: what is shared by its workers.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde::Serialize;
use tokio::sync::Notify;

use handfast_client::{Client, Error, Obstacle, Outcome, Report};
use handfast_common::ids::{Key, Ticket};
use handfast_common::messages::Rejection;
use handfast_common::operation::Value;
use handfast_common::outcome::{Reason, ReasonKind};

use super::input::Asked;
use super::resume::{ATTEMPTS, Earlier, Output, RunId};
use crate::errors::{Failure, exit};
use crate::outcome::reason_of;

/// Counts, output and the client of one run.
pub(super) struct Run {
    client: Client,
    deadline: Duration,
    earlier: Earlier,
    id: RunId,
    output: RefCell<Output>,
    /// Lines taken so far beyond the last one that the earlier output names.
    beyond: Cell<u64>,
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
    mismatch: bool,
    /// Outcomes are known that could not be written.
    unwritten: bool,
    /// Lines are left that were not taken.
    incomplete: bool,
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
        (id, output): (RunId, Output),
        bar: Option<ProgressBar>,
    ) -> Self {
        Self {
            client,
            deadline,
            earlier,
            id,
            output: RefCell::new(output),
            beyond: Cell::new(0),
            bar,
            stopping: Cell::new(false),
            stopped: Notify::new(),
            counts: RefCell::new(Counts::default()),
        }
    }

    /// Takes no more lines; those under way end.
    pub(super) fn stop(&self, why: &str) {
        self.counts.borrow_mut().incomplete = true;
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
        match self.earlier.is_answer_to(line, &asked.text, asked.key) {
            Some(true) => {
                self.counts.borrow_mut().skipped += 1;
                return;
            }
            Some(false) => {
                self.counts.borrow_mut().mismatch = true;
                return self
                    .stop(&format!("line {line} is not the one that the earlier output answers: another input?"));
            }
            None => {}
        }
        let began = Instant::now();
        let done = match self.take_up(line, &asked).await {
            Ok(Some(report)) => Ok(report),
            Ok(None) => self.begin(line, &asked).await,
            Err(error) => Err(error),
        };
        match done {
            Ok(report) => self.print(line, &report, began.elapsed()),
            Err(error) => self.failed(line, &asked, &error),
        }
    }

    /// Asks for every key that earlier runs may have sent for this line. `None`: none of them happened, and none can
    /// happen any more.
    async fn take_up(&self, line: u64, asked: &Asked) -> Result<Option<Report>, Error> {
        if self.was_never_sent(line) || asked.ticket.is_some() {
            return Ok(None);
        }
        if let Some(key) = asked.key {
            return self.take_up_own(key, asked).await;
        }
        for run in &self.earlier.runs {
            for attempt in 0..ATTEMPTS {
                let key = run.key(line, &asked.text, attempt);
                let report = self.ask(key, run.ticket, asked).await?;
                if !certainly_not(&report.outcome) {
                    return Ok(Some(report));
                }
                let fenced = self.fence(key, run.ticket, asked, report).await?;
                if !certainly_not(&fenced.outcome) {
                    return Ok(Some(fenced));
                }
            }
        }
        Ok(None)
    }

    /// A line with a key of its own: submitted with the oldest ticket it can have, which compares the content too. What
    /// did not happen under that key never will; the line needs a new one.
    async fn take_up_own(&self, key: Key, asked: &Asked) -> Result<Option<Report>, Error> {
        let Some(run) = self.earlier.runs.first() else { return Ok(None) };
        let again = asked.transaction.clone().key(key).ticket(run.ticket);
        let report = self.client.submit(again, self.deadline).await?;
        if certainly_not(&report.outcome) {
            return self.fence(key, run.ticket, asked, report).await.map(Some);
        }
        Ok(Some(report))
    }

    /// It may have been sent to a later start of the coordinator than this ticket knows, and still be on its way there:
    /// a question with a present ticket sees to it that it comes to nothing.
    async fn fence(&self, key: Key, ticket: Ticket, asked: &Asked, report: Report) -> Result<Report, Error> {
        let present = self.client.standing(Some(ticket.log), self.deadline).await?;
        if present.epoch == ticket.epoch { Ok(report) } else { self.ask(key, present, asked).await }
    }

    /// Whether no earlier run can have sent this line. Called for each line once, in order.
    fn was_never_sent(&self, line: u64) -> bool {
        if line <= self.earlier.last_named {
            return false;
        }
        let beyond = self.beyond.replace(self.beyond.get() + 1);
        beyond >= self.earlier.reach()
    }

    async fn ask(&self, key: Key, ticket: Ticket, asked: &Asked) -> Result<Report, Error> {
        self.client.outcome(key, Some(ticket), asked.participants.clone(), self.deadline).await
    }

    /// A line of which nothing has happened yet.
    async fn begin(&self, line: u64, asked: &Asked) -> Result<Report, Error> {
        let (run, text) = (self.id, asked.text.clone());
        let transaction = match (asked.key, asked.ticket) {
            (Some(key), Some(ticket)) => asked.transaction.clone().key(key).ticket(ticket),
            (Some(key), None) => asked.transaction.clone().key(key),
            (None, _) => {
                asked.transaction.clone().keys(move |attempt| run.key(line, &text, attempt)).only_by(run.ticket.log)
            }
        };
        self.client.submit(transaction, self.deadline).await
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
        let written = text.map_err(std::io::Error::from).and_then(|text| self.output.borrow_mut().line(&text));
        if let Err(error) = written {
            self.counts.borrow_mut().unwritten = true;
            self.stop(&format!("the outcome of line {line} can't be written: {error}"));
        }
    }

    fn failed(&self, line: u64, asked: &Asked, error: &Error) {
        match error {
            // Nobody who answers has the log that the line's ticket names: what the key meant there is not known here.
            Error::NotSent { key, ticket, why } if why.0.iter().any(|one| one.obstacle == Obstacle::OtherLog) => {
                self.print(line, &nothing(*key, *ticket, Outcome::Forgotten), Duration::ZERO);
            }
            Error::NotSent { .. } | Error::NoAnswer(_) => {
                self.counts.borrow_mut().unavailable = true;
                self.stop(&format!("line {line}: {error}; it was not sent, and no more are"));
            }
            // Never begun: it did not happen and will not, and the others go on.
            Error::Rejected { key, ticket, rejection } if rejection.is_retryable() => {
                let kind = match rejection {
                    Rejection::DiskFull => ReasonKind::DiskFull,
                    _ => ReasonKind::Overloaded,
                };
                let outcome = Outcome::Aborted(Reason::new(kind, rejection.to_string()));
                self.print(line, &nothing(*key, Some(*ticket), outcome), self.deadline);
            }
            // Named in the output too: a later run must see that it was taken.
            Error::Rejected { ticket, rejection, .. } => {
                let outcome = Outcome::Aborted(Reason::new(ReasonKind::BadWork, rejection.to_string()));
                // Under the line's derived key: its own may belong to something else that did happen.
                let key = self.id.key(line, &asked.text, 0);
                self.print(line, &nothing(key, Some(*ticket), outcome), Duration::ZERO);
                self.bad(line, &error.to_string());
            }
            Error::Invalid(_) => self.bad(line, &error.to_string()),
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
    pub(super) fn summary(&self, took: Duration) -> Result<u8, Failure> {
        self.output.borrow_mut().finish().map_err(Failure::other)?;
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
        Ok(if counts.mismatch {
            exit::CONFLICT
        } else if counts.unavailable {
            exit::UNAVAILABLE
        } else if counts.unknown + counts.other > 0 || counts.unwritten {
            exit::UNKNOWN
        } else if counts.bad > 0 || counts.incomplete {
            exit::OTHER
        } else {
            0
        })
    }
}

/// Whether it is certain that the key did not happen, for a reason that says nothing against running the line again.
fn certainly_not(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Aborted(reason) => reason.kind.is_retryable() || reason.kind == ReasonKind::Fenced,
        Outcome::Committed(_)
        | Outcome::Unknown(_)
        | Outcome::Forgotten
        | Outcome::NotFound
        | Outcome::HeuristicMixed => false,
    }
}

/// A report of something that was never begun.
fn nothing(key: Key, ticket: Option<Ticket>, outcome: Outcome) -> Report {
    Report { key, ticket, txn: None, outcome, age: None, attempts: 1, latency: Duration::ZERO }
}
