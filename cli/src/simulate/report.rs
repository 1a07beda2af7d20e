//! What worlds came to: a table for people, JSON lines for machines.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use comfy_table::{Table, presets::NOTHING};
use handfast_simulator::matrix::{Cells, Kind};
use handfast_simulator::plan::MS;
use handfast_simulator::run::Report;
use handfast_simulator::world::Summary;
use serde::Serialize;

use crate::errors::exit;
use crate::output::Format;

/// Sums over all worlds that have ended.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Total {
    schema_version: u32,
    /// The first one.
    seed: u64,
    /// How many were asked for, and have ended.
    runs: u64,
    ran: u64,
    /// How many of these broke a promise.
    broken: u64,
    transactions: u64,
    committed: u64,
    aborted: u64,
    interactive: u64,
    /// Messages that were lost or came twice included.
    faults: u64,
    /// Those that came at a step of the protocol for which the matrix has a cell, by kind.
    hits: BTreeMap<&'static str, u64>,
    /// Cells that were hit, and all that worlds can come to.
    cells_hit: usize,
    cells: usize,
    restarts: u64,
    crashes_in_recovery: u64,
    in_doubt: u64,
    inquiries: u64,
    /// From the end of the last fault to the end of the last doubt, in virtual time, and in which world that was.
    slowest_doubt_ms: f64,
    slowest_doubt_seed: Option<u64>,
    seconds: f64,
    #[serde(skip)]
    matrix: Cells,
}

impl Total {
    pub(super) fn new(seed: u64, runs: u64) -> Self {
        Self {
            schema_version: 1,
            seed,
            runs,
            ran: 0,
            broken: 0,
            transactions: 0,
            committed: 0,
            aborted: 0,
            interactive: 0,
            faults: 0,
            hits: BTreeMap::new(),
            cells_hit: 0,
            cells: 0,
            restarts: 0,
            crashes_in_recovery: 0,
            in_doubt: 0,
            inquiries: 0,
            slowest_doubt_ms: 0.0,
            slowest_doubt_seed: None,
            seconds: 0.0,
            matrix: Cells::default(),
        }
    }

    pub(super) fn add(&mut self, seed: u64, summary: &Summary) {
        self.ran += 1;
        self.transactions += summary.transactions;
        self.committed += summary.committed;
        self.aborted += summary.aborted;
        self.interactive += summary.interactive;
        self.faults += summary.faults;
        self.restarts += summary.restarts;
        self.crashes_in_recovery += summary.nested;
        self.in_doubt += summary.in_doubt;
        self.inquiries += summary.inquiries;
        let ended = summary.doubt_ended as f64 / MS as f64;
        if ended > self.slowest_doubt_ms {
            (self.slowest_doubt_ms, self.slowest_doubt_seed) = (ended, Some(seed));
        }
        self.matrix.add(&summary.cells);
    }

    /// Nothing more comes; so many broke a promise.
    pub(super) fn end(&mut self, broken: u64, took: Duration) {
        self.ran += broken;
        self.broken = broken;
        self.hits = Kind::ALL.into_iter().map(|kind| (kind.name(), self.matrix.of_kind(kind))).collect();
        self.cells_hit = self.matrix.covered();
        self.cells = self.cells_hit + self.matrix.missed().len();
        self.seconds = took.as_secs_f64();
    }

    pub(super) fn ran(&self) -> u64 {
        self.ran
    }

    pub(super) fn transactions(&self) -> u64 {
        self.transactions
    }

    pub(super) fn faults(&self) -> u64 {
        self.faults
    }

    /// Worlds that were not run prove nothing: they are no success.
    pub(super) fn exit_code(&self) -> u8 {
        match (self.broken, self.ran == self.runs) {
            (0, true) => 0,
            (0, false) => exit::OTHER,
            (_, _) => exit::INTEGRITY,
        }
    }

    pub(super) fn print(&self, format: Format, out: &mut impl Write) -> io::Result<()> {
        match format {
            Format::Json => {
                serde_json::to_writer(&mut *out, self)?;
                writeln!(out)?;
            }
            Format::Table => self.print_table(out)?,
        }
        out.flush()
    }

    fn print_table(&self, out: &mut impl Write) -> io::Result<()> {
        let hits = self.hits.iter().filter(|(_, times)| **times > 0);
        let hits: Vec<String> = hits.map(|(kind, times)| format!("{kind} {times}")).collect();
        let slowest = match self.slowest_doubt_seed {
            Some(seed) => format!("{:.0} ms after the last fault, in seed {seed}", self.slowest_doubt_ms),
            None => "none was left at the last fault".to_owned(),
        };
        let mut table = Table::new();
        table.load_style(NOTHING);
        for (what, figure) in [
            ("seeds", format!("{} of {}, from {} on", self.ran, self.runs, self.seed)),
            ("transactions", self.transactions.to_string()),
            ("committed", format!("{}, {} of them interactive", self.committed, self.interactive)),
            ("aborted (nothing happened)", self.aborted.to_string()),
            ("faults", self.faults.to_string()),
            ("hits by kind", hits.join(", ")),
            ("cells of the matrix hit", format!("{} of {}", self.cells_hit, self.cells)),
            ("restarts", format!("{}, {} crashes inside of a recovery", self.restarts, self.crashes_in_recovery)),
            ("found in doubt", format!("{}, {} inquiries decided", self.in_doubt, self.inquiries)),
            ("slowest doubt", slowest),
            ("seconds", format!("{:.1}", self.seconds)),
        ] {
            table.add_row([what, figure.as_str()]);
        }
        writeln!(out, "{table}")?;
        match (self.broken, self.runs - self.ran) {
            (0, 0) => writeln!(out, "No promise was broken."),
            (0, left) => writeln!(out, "No promise was broken so far; {left} seeds were not run."),
            (broken, _) => writeln!(out, "BROKEN: {broken} of {} seeds broke a promise, see above.", self.ran),
        }
    }
}

/// One world that broke a promise.
pub(super) fn print_broken(report: &Report, format: Format, out: &mut impl Write) -> io::Result<()> {
    match format {
        Format::Json => {
            serde_json::to_writer(&mut *out, &Broken::from(report))?;
            writeln!(out)
        }
        Format::Table => writeln!(out, "{report}"),
    }
}

#[derive(Serialize)]
struct Broken<'a> {
    seed: u64,
    promise: &'a str,
    what: &'a str,
    at_ms: f64,
    /// Faults that it takes, of so many.
    faults: Vec<String>,
    planned: usize,
    story: &'a [String],
    again: &'a str,
}

impl<'a> From<&'a Report> for Broken<'a> {
    fn from(report: &'a Report) -> Self {
        let ms = |at: u64| at as f64 / MS as f64;
        let faults = report.plan.iter().map(|planned| format!("{:.3} ms {:?}", ms(planned.at), planned.fault));
        Self {
            seed: report.seed,
            promise: report.violation.oracle,
            what: &report.violation.what,
            at_ms: ms(report.violation.at),
            faults: faults.collect(),
            planned: report.planned,
            story: &report.story,
            again: &report.again,
        }
    }
}
