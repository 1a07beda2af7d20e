//! Going on where an earlier `submit` ended, whichever way it ended.
//!
//! The earlier output says what is answered. What was sent and never answered is known from a journal beside it
//! (`OUT.sent`): with `--resume`, each key is written there with its ticket *before* it is sent. Keys are random and
//! belong to that one ticket for ever, so what the journal names can be asked about definitely: it either committed, or
//! the question itself sees to it that it never will. Only then is the line run again, under a new key.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use handfast_common::ids::{Key, Ticket};

/// What is known of earlier runs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Earlier {
    /// Lines that are answered for good.
    pub(super) answered: BTreeMap<u64, &'static str>,
    /// Lines that were sent and have no final answer, with what to ask.
    pub(super) open: BTreeMap<u64, (Key, Ticket)>,
}

/// The journal of what is sent.
#[derive(Debug)]
pub(super) struct Journal(File);

#[derive(Serialize, Deserialize)]
struct Sent {
    line: u64,
    key: Uuid,
    ticket: String,
}

#[derive(Deserialize)]
struct Answer {
    line: u64,
    key: Option<Uuid>,
    ticket: Option<String>,
    outcome: String,
}

impl Earlier {
    /// Reads an earlier output and its journal; files that are not there yet are empty.
    pub(super) fn read(out: &Path) -> io::Result<Self> {
        Ok(Self::parse(&text_of(out)?, &text_of(&journal_of(out))?))
    }

    fn parse(out: &str, journal: &str) -> Self {
        let mut earlier = Self::default();
        // Later entries of a line stand for later attempts; those before them were definitely aborted.
        for sent in lines::<Sent>(journal) {
            if let Ok(ticket) = sent.ticket.parse() {
                earlier.open.insert(sent.line, (Key(sent.key), ticket));
            }
        }
        for answer in lines::<Answer>(out) {
            let ticket = answer.ticket.as_deref().and_then(|ticket| ticket.parse().ok());
            match (final_outcome(&answer.outcome), answer.key, ticket) {
                (Some(outcome), ..) => {
                    earlier.open.remove(&answer.line);
                    earlier.answered.insert(answer.line, outcome);
                }
                // The journal, if there is one, has the later attempt.
                (None, Some(key), Some(ticket)) => {
                    earlier.open.entry(answer.line).or_insert((Key(key), ticket));
                }
                (None, ..) => {}
            }
        }
        earlier
    }
}

impl Journal {
    /// Opens the journal beside `out` for appending.
    pub(super) fn open(out: &Path) -> io::Result<Self> {
        Ok(Self(File::options().create(true).append(true).open(journal_of(out))?))
    }

    /// Notes a key before it is sent. One write, so that a kill leaves the whole line or none of it.
    pub(super) fn note(&mut self, line: u64, key: Key, ticket: Ticket) -> io::Result<()> {
        let mut text = serde_json::to_string(&Sent { line, key: key.0, ticket: ticket.to_string() })?;
        text.push('\n');
        self.0.write_all(text.as_bytes())
    }
}

fn final_outcome(name: &str) -> Option<&'static str> {
    ["committed", "aborted", "forgotten", "not-found", "heuristic-mixed"].into_iter().find(|known| *known == name)
}

/// Every line that can be read: the last one may have been cut off by a kill.
fn lines<'a, T: Deserialize<'a>>(text: &'a str) -> impl Iterator<Item = T> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok())
}

fn journal_of(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".sent");
    PathBuf::from(name)
}

fn text_of(path: &Path) -> io::Result<String> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICKET: &str = "00000000000000000000000000000001.3.00000000000000ff.17";

    fn key(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    #[test]
    fn answered_lines_are_skipped_and_open_ones_asked_for() {
        let out = format!(
            "{{\"line\":1,\"key\":\"{}\",\"ticket\":\"{TICKET}\",\"outcome\":\"committed\"}}\n\
             {{\"line\":2,\"key\":\"{}\",\"ticket\":\"{TICKET}\",\"outcome\":\"unknown\"}}\n\
             {{\"line\":3,\"key\":\"{}\",\"tick",
            key(1),
            key(2),
            key(3)
        );
        let journal: String = [1, 2, 3, 3, 4]
            .into_iter()
            .enumerate()
            .map(|(at, line)| {
                let key = if line < 3 { key(line) } else { key(10 + at as u128) };
                format!("{{\"line\":{line},\"key\":\"{key}\",\"ticket\":\"{TICKET}\"}}\n")
            })
            .collect();
        let earlier = Earlier::parse(&out, &journal);
        assert_eq!(earlier.answered.keys().collect::<Vec<_>>(), [&1]);
        let open: Vec<(u64, Uuid)> = earlier.open.iter().map(|(line, (key, _))| (*line, key.0)).collect();
        // Line 3 was sent twice: the second key is the one that counts.
        assert_eq!(open, [(2, key(2)), (3, key(13)), (4, key(14))]);
    }

    #[test]
    fn a_journal_reads_back_and_survives_a_torn_last_line() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let ticket: Ticket = TICKET.parse().unwrap();
        let mut journal = Journal::open(&out).unwrap();
        journal.note(7, Key(key(7)), ticket).unwrap();
        journal.note(8, Key(key(8)), ticket).unwrap();
        let path = journal_of(&out);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() - 9]).unwrap();
        let earlier = Earlier::read(&out).unwrap();
        assert_eq!(earlier.open, BTreeMap::from([(7, (Key(key(7)), ticket))]));
    }
}
