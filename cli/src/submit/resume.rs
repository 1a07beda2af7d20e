//! Going on where an earlier `submit` ended, whichever way it ended.
//!
//! Every run draws an id, and every key it sends follows from that id, the line's number and text, and the attempt. The
//! id stands in the first output line, whose beginning is written *before anything is sent*: so a run that was killed
//! leaves behind all that is needed to find every key it may have sent. A later run asks for those keys, with the
//! oldest ticket they can have and then with a present one, which fences what may still be on its way. Only when none
//! of them happened, and none can happen any more, is the line run again, under keys of the new run.
//!
//! Lines are taken in order and every line that was sent is answered in OUT or was under way at the end. So a line may
//! have been sent only if OUT names it, or if it comes before one that OUT names, or if there are fewer lines between it
//! and the last one named than were under way at a time. All others need no questions.
//!
//! For that to hold over many runs, OUT must hold the lines of all of them: a resumed run appends to OUT by itself.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::Deserialize;
use uuid::Uuid;

use handfast_common::ids::{ContentHash, Key, Ticket};

/// Keys of one line that a run may have sent: the first attempt and the client's retries.
pub(super) const ATTEMPTS: u32 = 11;

/// A run of `submit`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RunId {
    pub(super) id: Uuid,
    /// Where the coordinator stood before anything was sent: no key of the run has an older ticket.
    pub(super) ticket: Ticket,
    /// Lines under way at a time, at the most.
    pub(super) concurrency: u32,
}

/// What is known of earlier runs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Earlier {
    pub(super) runs: Vec<RunId>,
    /// Lines that have a final answer, with the key it was given for.
    pub(super) answered: BTreeMap<u64, Key>,
    /// The last line that has an answer of whatever kind.
    pub(super) last_named: u64,
}

impl RunId {
    /// The key of a line's attempt. Whoever knows the run finds it again, and it fits no other line.
    pub(super) fn key(&self, line: u64, text: &str, attempt: u32) -> Key {
        let (line, attempt) = (line.to_be_bytes(), attempt.to_be_bytes());
        let ContentHash(digest) =
            ContentHash::of(&[b"handfast submit", self.id.as_bytes(), &line, &attempt, text.as_bytes()]);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Key(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// What the first output line begins with.
    pub(super) fn head(&self) -> String {
        format!("{{\"run\":\"{}@{}@{}\",", self.id, self.ticket, self.concurrency)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('@');
        let (id, ticket, concurrency) = (parts.next()?, parts.next()?, parts.next()?);
        let concurrency = concurrency.parse().ok()?;
        Some(Self { id: Uuid::try_parse(id).ok()?, ticket: ticket.parse().ok()?, concurrency })
    }
}

impl Earlier {
    /// Reads an earlier output.
    pub(super) fn read(out: &Path) -> io::Result<Self> {
        let mut bytes = Vec::new();
        File::open(out)?.read_to_end(&mut bytes)?;
        Ok(Self::parse(&String::from_utf8_lossy(&bytes)))
    }

    fn parse(out: &str) -> Self {
        let mut earlier = Self::default();
        for text in out.lines() {
            // The first line of a run that was killed may be torn anywhere behind its head.
            let head = text.strip_prefix("{\"run\":\"").and_then(|rest| rest.split_once("\","));
            earlier.runs.extend(head.and_then(|(run, _)| RunId::parse(run)));
            if let Ok(answer) = serde_json::from_str::<Answer>(text) {
                earlier.last_named = earlier.last_named.max(answer.line);
                if answer.outcome != "unknown" {
                    earlier.answered.insert(answer.line, Key(answer.key));
                }
            }
        }
        earlier
    }

    /// How many lines beyond the last one named may have been under way.
    pub(super) fn reach(&self) -> u64 {
        self.runs.iter().map(|run| u64::from(run.concurrency)).max().unwrap_or(0)
    }

    /// Whether an answered line is this very line: its key is the line's own, or follows from its text.
    pub(super) fn is_answer_to(&self, line: u64, text: &str, own: Option<Key>) -> Option<bool> {
        let answered = *self.answered.get(&line)?;
        let derived =
            || self.runs.iter().any(|run| (0..ATTEMPTS).any(|attempt| run.key(line, text, attempt) == answered));
        Some(own == Some(answered) || derived())
    }
}

#[derive(Deserialize)]
struct Answer {
    line: u64,
    key: Uuid,
    outcome: String,
}

/// Where outcome lines go: stdout, and with `--resume` the earlier output too, unless stdout is that file already.
pub(super) struct Output {
    also: Option<File>,
    /// The head of the run's first line, until that line is complete.
    begun: bool,
}

impl Output {
    pub(super) fn stdout() -> Self {
        Self { also: None, begun: false }
    }

    /// Appends to `out` as well. A torn last line of it is ended first, so that nothing is glued to it.
    pub(super) fn appending_to(out: &Path) -> io::Result<Self> {
        let mut file = File::options().read(true).append(true).open(out)?;
        let length = file.metadata()?.len();
        let mut last = [b'\n'];
        if length > 0 {
            file.seek(SeekFrom::Start(length - 1))?;
            file.read_exact(&mut last)?;
        }
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
        let also = if is_stdout(&file)? { None } else { Some(file) };
        Ok(Self { also, begun: false })
    }

    /// Writes the head of the first line: from here on keys of the run may be sent.
    pub(super) fn begin(&mut self, run: &RunId) -> io::Result<()> {
        self.begun = true;
        self.write(run.head().as_bytes())
    }

    /// Writes a line, a JSON object; the run's first one is joined to its head.
    pub(super) fn line(&mut self, json: &str) -> io::Result<()> {
        let joined = std::mem::take(&mut self.begun);
        let rest = if joined { json.strip_prefix('{').unwrap_or(json) } else { json };
        self.write(format!("{rest}\n").as_bytes())
    }

    /// Ends a head that no line followed.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.begun) { self.write(b"\"lines\":0}\n") } else { Ok(()) }
    }

    /// One write each, so that a kill leaves a whole line or the beginning of one.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(file) = &mut self.also {
            file.write_all(bytes)?;
        }
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    }
}

fn is_stdout(file: &File) -> io::Result<bool> {
    let Ok(stdout) = fs::metadata("/dev/stdout") else { return Ok(false) };
    let file = file.metadata()?;
    Ok((stdout.dev(), stdout.ino()) == (file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(id: u128) -> RunId {
        let ticket = "00000000000000000000000000000001.3.00000000000000ff.17".parse().unwrap();
        RunId { id: Uuid::from_u128(id), ticket, concurrency: 64 }
    }

    fn answer(line: u64, key: Key, outcome: &str) -> String {
        format!("\"line\":{line},\"key\":\"{key}\",\"outcome\":\"{outcome}\"}}\n")
    }

    #[test]
    fn keys_follow_from_run_line_text_and_attempt_and_from_nothing_less() {
        let one = run(1);
        let key = one.key(7, "text", 0);
        assert_eq!(key, one.key(7, "text", 0));
        for other in [run(2).key(7, "text", 0), one.key(8, "text", 0), one.key(7, "texts", 0), one.key(7, "text", 1)] {
            assert_ne!(key, other);
        }
    }

    #[test]
    fn an_output_tells_its_runs_even_when_torn_right_behind_the_head() {
        let (one, two) = (run(1), run(2));
        let first = answer(3, one.key(3, "c", 2), "committed");
        let unknown = answer(4, one.key(4, "d", 0), "unknown");
        let out = format!("{}{first}{{{unknown}{}", one.head(), two.head());
        let earlier = Earlier::parse(&out);
        assert_eq!(earlier.runs, [one, two]);
        assert_eq!(earlier.answered.keys().collect::<Vec<_>>(), [&3]);
        assert_eq!((earlier.last_named, earlier.reach()), (4, 64));
        assert_eq!(earlier.is_answer_to(3, "c", None), Some(true));
        assert_eq!(earlier.is_answer_to(3, "another input", None), Some(false));
        assert_eq!(earlier.is_answer_to(4, "d", None), None);
    }

    #[test]
    fn a_torn_line_is_ended_before_more_is_appended() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        fs::write(&out, format!("{}\"line\":1,\"ke", run(1).head())).unwrap();
        let mut output = Output::appending_to(&out).unwrap();
        output.begin(&run(2)).unwrap();
        output.line(&format!("{{{}", answer(1, run(2).key(1, "a", 0), "committed").trim_end())).unwrap();
        output.line(&format!("{{{}", answer(2, run(2).key(2, "b", 0), "aborted").trim_end())).unwrap();
        let earlier = Earlier::read(&out).unwrap();
        assert_eq!(earlier.runs.len(), 2);
        assert_eq!(earlier.answered.len(), 2);
    }
}
