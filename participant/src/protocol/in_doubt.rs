//! A branch in doubt: whom it has asked, and what the others could say.
//!
//! The coordinator is asked for ever. When it leaves an inquiry unanswered, the other branches' participants are asked
//! too (cooperative termination). What they can't tell is kept, for the operator: a branch that waits says for whom.

use std::collections::BTreeMap;
use std::time::Duration;

use handfast_common::ids::Name;
use handfast_common::messages::{Member, Unsaid};

use super::Config;
use super::record::Prepared;

/// A branch in doubt.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct InDoubt {
    /// What is on disk.
    pub(super) record: Prepared,
    /// Pause after the next inquiry.
    pub(super) pause: Duration,
    /// How many inquiries have to run by the timer before a broken connection may hurry one again.
    pub(super) rest: u8,
    /// Whether the coordinator has left an inquiry unanswered, or its connection is broken.
    pub(super) unanswered: bool,
    /// What the others have said since then.
    peers: BTreeMap<Name, Peer>,
    /// What of it the operator was told.
    told: Vec<(Name, Heard)>,
}

/// Another participant, as one in doubt knows it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Peer {
    heard: Heard,
    /// Whether it has answered the last question.
    fresh: bool,
}

/// What was heard from another participant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Heard {
    /// It was asked for the first time.
    Nothing,
    /// It leaves questions unanswered.
    Silence,
    /// It can't say.
    CantSay(Unsaid),
}

impl InDoubt {
    pub(super) fn new(record: Prepared, config: &Config) -> Self {
        let (peers, told) = (BTreeMap::new(), Vec::new());
        Self { record, pause: config.retry_first, rest: 0, unanswered: false, peers, told }
    }

    /// The coordinator answers, if only that it can't say yet.
    pub(super) fn coordinator_answers(&mut self) {
        self.unanswered = false;
        self.peers.clear();
        self.told.clear();
    }

    /// A round of questions to all others begins: whom to ask.
    pub(super) fn ask_peers(&mut self, own: &Name) -> Vec<Member> {
        let others: Vec<Member> =
            self.record.members.iter().filter(|member| member.who.name != *own).cloned().collect();
        for member in &others {
            self.peers
                .entry(member.who.name.clone())
                .and_modify(|peer| {
                    let heard = if peer.fresh { peer.heard } else { Heard::Silence };
                    *peer = Peer { heard, fresh: false };
                })
                .or_insert(Peer { heard: Heard::Nothing, fresh: false });
        }
        others
    }

    /// One of the others can't say.
    pub(super) fn heard(&mut self, name: Name, unsaid: Unsaid) {
        self.peers.insert(name, Peer { heard: Heard::CantSay(unsaid), fresh: true });
    }

    /// What the operator has to be told: that it waits, and who can't help, once everybody has had the time to answer
    /// and whenever that changes.
    pub(super) fn news(&mut self) -> Option<String> {
        let all = || self.peers.iter().map(|(name, peer)| (name, peer.heard));
        let waits = self.unanswered && !self.peers.is_empty() && all().all(|(_, heard)| heard != Heard::Nothing);
        if !waits || all().eq(self.told.iter().map(|(name, heard)| (name, *heard))) {
            return None;
        }
        let others: Vec<String> = all().map(|(name, heard)| format!("{name} {}", heard.text())).collect();
        self.told = all().map(|(name, heard)| (name.clone(), heard)).collect();
        let coordinator = &self.record.coordinator;
        Some(format!(
            "in doubt: its coordinator at {coordinator} does not answer, and of the other participants {}; it keeps its \
             locks until one of them can tell the decision",
            others.join(", ")
        ))
    }

    /// What another participant has said, for listings.
    pub(super) fn said(&self, name: &Name) -> &'static str {
        match self.peers.get(name).map(|peer| peer.heard) {
            None | Some(Heard::Nothing) => "unknown",
            Some(Heard::Silence) => "unreachable",
            Some(Heard::CantSay(Unsaid::InDoubt)) => "in-doubt",
            Some(Heard::CantSay(
                Unsaid::Open
                | Unsaid::ReadOnly
                | Unsaid::OtherIncarnation
                | Unsaid::BelowMark
                | Unsaid::NotMe
                | Unsaid::Heuristic,
            )) => "cant-say",
        }
    }
}

impl Heard {
    fn text(self) -> &'static str {
        match self {
            Self::Nothing => "has not answered yet",
            Self::Silence => "does not answer either",
            Self::CantSay(Unsaid::InDoubt) => "is in doubt itself",
            Self::CantSay(Unsaid::Open) => "has not been asked for its vote yet",
            Self::CantSay(Unsaid::ReadOnly) => "only read and was not told the end",
            Self::CantSay(Unsaid::OtherIncarnation) => "was restarted and has forgotten",
            Self::CantSay(Unsaid::BelowMark) => "has no trace left of it",
            Self::CantSay(Unsaid::NotMe) => "is not the one that takes part, or not with that store",
            Self::CantSay(Unsaid::Heuristic) => "was decided by hand",
        }
    }
}
