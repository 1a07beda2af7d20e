//! How results are printed.

use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{Table, presets::UTF8_HORIZONTAL_ONLY};
use serde::Serialize;

/// For whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Format {
    /// People.
    Table,
    /// Machines: JSON lines.
    Json,
}

/// Prints rows as JSON lines, or as a table with these columns.
pub(crate) fn print_rows<T: Serialize>(
    format: Format,
    columns: &[&str],
    rows: &[T],
    cells: impl Fn(&T) -> Vec<String>,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match format {
        Format::Json => {
            for row in rows {
                serde_json::to_writer(&mut out, row)?;
                writeln!(out)?;
            }
        }
        Format::Table if rows.is_empty() => writeln!(out, "none")?,
        Format::Table => {
            let mut table = Table::new();
            table.load_style(UTF8_HORIZONTAL_ONLY).set_header(columns);
            for row in rows {
                table.add_row(cells(row));
            }
            writeln!(out, "{table}")?;
        }
    }
    out.flush()
}
