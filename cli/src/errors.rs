//! What can go wrong in the command, in three lines: what, why, what next. And the catalogue of codes.

use std::io::Write;

use handfast_client::Error as ClientError;
use serde::Serialize;

use crate::output::Format;

/// A failure of the command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Failure {
    pub(crate) code: &'static str,
    pub(crate) what: String,
    pub(crate) why: String,
    pub(crate) next: String,
    pub(crate) exit: u8,
}

/// Exit codes; docs/operating.md lists them for users.
pub(crate) mod exit {
    pub(crate) const OTHER: u8 = 1;
    pub(crate) const USAGE: u8 = 2;
    pub(crate) const NOT_FOUND: u8 = 3;
    pub(crate) const ABORTED: u8 = 4;
    pub(crate) const UNKNOWN: u8 = 5;
    pub(crate) const CONFLICT: u8 = 6;
    pub(crate) const UNAVAILABLE: u8 = 8;
    pub(crate) const INTEGRITY: u8 = 9;
    pub(crate) const CONFIGURATION: u8 = 10;
}

impl Failure {
    pub(crate) fn new(code: &'static str, exit: u8, what: impl Into<String>, why: impl Into<String>) -> Self {
        let next = entry(code).map_or_else(String::new, |entry| entry.next.to_owned());
        Self { code, what: what.into(), why: why.into(), next, exit }
    }

    /// Something that has no code of its own.
    pub(crate) fn other(error: impl Into<anyhow::Error>) -> Self {
        let error = error.into();
        let why = error.chain().skip(1).map(ToString::to_string).collect::<Vec<_>>().join(": ");
        Self { code: "HF0001", what: error.to_string(), why, next: String::new(), exit: exit::OTHER }
    }

    /// A call that had no answer.
    pub(crate) fn client(error: &ClientError) -> Self {
        match error {
            ClientError::NotSent { why, .. } | ClientError::NoAnswer(why) => {
                let code = if why.is_hopeless() { "HF0302" } else { "HF0301" };
                Self::new(code, exit::UNAVAILABLE, "no answer from the server", why.to_string())
            }
            ClientError::Rejected { rejection, .. } => {
                Self::new("HF0303", exit::CONFLICT, "the coordinator did not begin it", rejection.to_string())
            }
            ClientError::Invalid(why) => Self::new("HF0401", exit::CONFIGURATION, "wrong options", why.clone()),
        }
    }

    /// One line each, on stderr.
    pub(crate) fn print(&self) {
        let mut err = std::io::stderr().lock();
        let mut line = |text: String| drop(writeln!(err, "{text}"));
        line(format!("error[{}]: {}", self.code, self.what));
        if !self.why.is_empty() {
            line(format!("  why:  {}", self.why));
        }
        if !self.next.is_empty() {
            line(format!("  next: {}", self.next));
        }
    }
}

/// `handfast explain CODE`.
pub(crate) fn explain(code: &str, format: Format) -> Result<u8, Failure> {
    let wanted = code.to_ascii_uppercase();
    match entry(&wanted) {
        Some(entry) if format == Format::Json => {
            let text = serde_json::to_string(&Explained { schema_version: 1, entry });
            println!("{}", text.map_err(Failure::other)?);
            Ok(0)
        }
        Some(entry) => {
            println!("{}: {}\n\n{}\n\nWhat to do: {}", entry.code, entry.what, entry.more, entry.next);
            Ok(0)
        }
        None => {
            let codes: Vec<&str> = CATALOGUE.iter().map(|entry| entry.code).collect();
            let why = format!("there are: {}", codes.join(", "));
            Err(Failure::new("HF0002", exit::NOT_FOUND, format!("no error code '{code}'"), why))
        }
    }
}

#[derive(Serialize)]
struct Explained {
    schema_version: u32,
    #[serde(flatten)]
    entry: &'static Entry,
}

#[derive(Serialize)]
struct Entry {
    code: &'static str,
    what: &'static str,
    more: &'static str,
    next: &'static str,
}

fn entry(code: &str) -> Option<&'static Entry> {
    CATALOGUE.iter().find(|entry| entry.code == code)
}

const CATALOGUE: &[Entry] = &[
    Entry {
        code: "HF0001",
        what: "an error without a code of its own",
        more: "The line says what happened. Nothing half done is left behind by a transaction.",
        next: "read the line; if it is no help, report it",
    },
    Entry {
        code: "HF0002",
        what: "an unknown error code",
        more: "Codes are HF and four digits.",
        next: "copy the code from the error line",
    },
    Entry {
        code: "HF0101",
        what: "the data folder is in use",
        more: "One process at a time works on a data folder; a lock in it is held as long as the process lives.",
        next: "stop the other process, or name another folder with --data",
    },
    Entry {
        code: "HF0102",
        what: "the data folder is of another kind",
        more: "A coordinator's folder holds decisions, a participant's holds data: neither can be opened as the other.",
        next: "name the right folder with --data",
    },
    Entry {
        code: "HF0103",
        what: "the data folder belongs to another name",
        more: "Transactions in doubt name their participants: a store under another name would not be found by them.",
        next: "start it with the --name it was made with",
    },
    Entry {
        code: "HF0104",
        what: "the file is of a newer format",
        more: "A newer version wrote it; this one can't know what it would lose.",
        next: "start the newer version",
    },
    Entry {
        code: "HF0105",
        what: "the file is damaged",
        more: "A checksum or a count does not match. What can't be read is never taken for absent, so nothing is served: \
               a decision that is missing would be presumed aborted where others have committed.",
        next: "keep the file, look at the disk, restore the newest backup taken while stopped",
    },
    Entry {
        code: "HF0106",
        what: "the disk is full",
        more: "New work is refused while a reserve is free; this is what is left when that was not enough. Nothing that \
               was acknowledged is lost.",
        next: "free some space and start again",
    },
    Entry {
        code: "HF0107",
        what: "the disk reported an error",
        more: "After a failed write or sync nobody knows what is on disk. The process ends, and the next start reads \
               what is really there.",
        next: "look at the disk, then start again",
    },
    Entry {
        code: "HF0201",
        what: "going on would break a promise",
        more: "Two copies of one coordinator have run, a branch that should be prepared is not there, or records \
               contradict each other. The line says which.",
        next: "keep all files, start the newest copy only",
    },
    Entry {
        code: "HF0301",
        what: "no answer",
        more: "Nobody listens at the address, it is not a server of the expected role or version, or it did not answer \
               in time.",
        next: "check the address and that the server runs",
    },
    Entry {
        code: "HF0302",
        what: "not the server that was asked for",
        more: "Something answers at the address, but it is a server of another version or role, another coordinator than \
               the ticket names, or no Handfast server at all.",
        next: "check the address; use the same version on both sides",
    },
    Entry {
        code: "HF0303",
        what: "the coordinator did not begin the transaction",
        more: "Nothing happened and nothing will. The line says why.",
        next: "mend what the line says and submit it again",
    },
    Entry {
        code: "HF0401",
        what: "wrong configuration",
        more: "A flag, an environment variable or a key of the configuration file can't be used. An unknown key is an \
               error, because a misspelt one would silently do nothing.",
        next: "mend it; docs/operating.md lists keys and flags",
    },
    Entry {
        code: "HF0402",
        what: "listening beyond this machine without protection",
        more: "Connections are neither encrypted nor authenticated: whoever reaches the port can move the money.",
        next: "listen on 127.0.0.1, or say --insecure where the network itself is safe",
    },
    Entry {
        code: "HF0403",
        what: "the port can't be opened",
        more: "Another process listens there, or the address is not one of this machine.",
        next: "choose another --listen address, or port 0 for a free one",
    },
    Entry {
        code: "HF0501",
        what: "no such transaction",
        more: "It has never been, or its outcome has been forgotten: outcomes are kept for 7 days of running time or \
               until a million newer ones exist.",
        next: "check the id; `handfast txn list` shows those that have not ended",
    },
    Entry {
        code: "HF0502",
        what: "several transactions begin so",
        more: "A prefix must name one transaction.",
        next: "give more digits",
    },
    Entry {
        code: "HF0504",
        what: "not a key, a ticket or an id",
        more: "A key is a UUID, optionally followed by @ and the ticket that submit printed beside it.",
        next: "copy it from the output of submit",
    },
    Entry {
        code: "HF0505",
        what: "the input can't be read",
        more: "The file is missing, unreadable, or no text.",
        next: "check the file's name and rights",
    },
    Entry {
        code: "HF0506",
        what: "an output that submit can't go on from",
        more: "--resume takes the output of an earlier submit of the same input: its first line names the run, and each \
               answer fits its line. From anything else it could not tell what has been sent.",
        next: "name the right file, or leave --resume out to send everything",
    },
    Entry {
        code: "HF0507",
        what: "an order about the registry that can't be given so",
        more: "A name has 1 to 64 letters, digits, '-', '_' or '.'. A reason is kept in the decision log for ever.",
        next: "mend the name, or say in a line why it is done",
    },
    Entry {
        code: "HF0508",
        what: "no such participant",
        more: "The coordinator's registry has no participant of this name. One that was removed is listed, but is no \
               longer counted on.",
        next: "look at `handfast registry list`",
    },
    Entry {
        code: "HF0509",
        what: "an order about the registry was refused",
        more: "A participant that is connected and well needs no removing, and one that has not acknowledged a commit \
               holds the only other half of it: removed, that half is given up. The line says which it is.",
        next: "start the participant on its own data folder; if that is gone for good, say --force",
    },
    Entry {
        code: "HF0510",
        what: "an order about the registry has no answer",
        more: "It was sent, and the connection was lost: it may have been carried out. It is not given twice, because \
               another store may have registered under the name meanwhile.",
        next: "look at `handfast registry list` before you give it again",
    },
    Entry {
        code: "HF0601",
        what: "nothing to verify",
        more: "It looks at data folders of stopped processes, and proves what can be proved over those that are given.",
        next: "give --coordinator DIR and --participant DIR, each as often as there are folders",
    },
    Entry {
        code: "HF0602",
        what: "nothing of this name to simulate",
        more: "A nemesis is a family of faults, a workload is what clients want. The line lists all names; docs/simulate.md \
               says what they do.",
        next: "choose among the names that the line lists, or leave it out: then it is drawn from the seed",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_every_storage_error_has_one() {
        let mut codes: Vec<&str> = CATALOGUE.iter().map(|entry| entry.code).collect();
        let count = codes.len();
        codes.dedup();
        assert_eq!(codes.len(), count);
        assert!(codes.is_sorted());
        for code in ["HF0101", "HF0102", "HF0103", "HF0104", "HF0105", "HF0106", "HF0107"] {
            assert!(entry(code).is_some(), "{code}");
        }
    }
}
