//! What the demo says at the end: a table for people, one JSON object for machines.

use std::collections::BTreeMap;
use std::io::{self, Write};

use comfy_table::{Table, presets::NOTHING};
use serde::Serialize;

/// The figures of one demo.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub(super) schema_version: u32,
    pub(super) seed: u64,
    /// Transfers that ran.
    pub(super) transfers: u64,
    pub(super) committed: u64,
    pub(super) aborted: u64,
    /// Those whose answer was lost and asked for again.
    pub(super) unknown_resolved: u64,
    /// Kills by role.
    pub(super) kills: BTreeMap<&'static str, u64>,
    pub(super) total_before: i64,
    pub(super) total_after: i64,
    pub(super) conserved: bool,
    pub(super) in_doubt_left: u64,
    pub(super) longest_in_doubt_ms: u64,
    pub(super) tps: f64,
    pub(super) seconds: f64,
    /// What is wrong, if anything is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) wrong: Option<String>,
}

impl Report {
    pub(super) fn print_json(&self, out: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        writeln!(out)
    }

    pub(super) fn print_table(&self, out: &mut impl Write) -> io::Result<()> {
        let mut table = Table::new();
        table.load_style(NOTHING);
        let kills = self.kills.iter().map(|(role, count)| format!("{count} {role}")).collect::<Vec<_>>().join(", ");
        for (what, figure) in [
            ("transfers that ran", self.transfers.to_string()),
            ("committed", self.committed.to_string()),
            ("aborted (nothing happened)", self.aborted.to_string()),
            ("answer lost, asked again", self.unknown_resolved.to_string()),
            ("processes killed with SIGKILL", kills),
            ("money before", self.total_before.to_string()),
            ("money after", self.total_after.to_string()),
            ("left in doubt", self.in_doubt_left.to_string()),
            ("longest in doubt", format!("{} ms", self.longest_in_doubt_ms)),
            ("transfers per second", format!("{:.0}", self.tps)),
            ("seconds", format!("{:.1}", self.seconds)),
        ] {
            table.add_row([what, figure.as_str()]);
        }
        writeln!(out, "{table}")?;
        match (&self.wrong, self.conserved, self.in_doubt_left) {
            (None, true, 0) => writeln!(
                out,
                "Money was conserved, every acknowledged transfer is there exactly once, nothing is left in doubt."
            ),
            (Some(wrong), ..) => writeln!(out, "WRONG: {wrong}"),
            (None, false, _) => writeln!(out, "WRONG: money was made or lost."),
            (None, true, left) => writeln!(out, "{left} transactions are still in doubt."),
        }
    }
}
