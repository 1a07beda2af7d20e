//! What listings show of the branches.

use handfast_common::ids::{Key, Name, Xid};
use handfast_common::messages::Member;
use handfast_common::outcome::Vote;

use super::Participant;
use super::branch::{Applying, State, Undoing, Work};
use super::in_doubt::InDoubt;

/// One branch, as a listing shows it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BranchView<'a> {
    /// The transaction.
    pub xid: Xid,
    /// `enlisting`, `active`, `working`, `in-doubt`, `committing`, `aborting`, `read-only`, `committed` or `aborted`.
    pub state: &'static str,
    /// `yes`, `no` or `read-only`, once this incarnation, or the record of an earlier one, has voted.
    pub vote: Option<&'static str>,
    /// Whether it is only remembered: it holds nothing, and nothing is on its way.
    pub ended: bool,
    /// The client's key, for one-phase commits.
    pub key: Option<Key>,
    /// All branches of the transaction, while this side knows them.
    pub members: &'a [Member],
    in_doubt: Option<&'a InDoubt>,
}

impl BranchView<'_> {
    /// What another participant last said when this branch, in doubt without its coordinator, asked it: `in-doubt`,
    /// `cant-say`, `unreachable`, or `unknown` where it was not asked or has not answered yet.
    #[must_use]
    pub fn said(&self, name: &Name) -> &'static str {
        self.in_doubt.map_or("unknown", |branch| branch.said(name))
    }
}

impl Participant {
    /// All branches that are known here, by coordinator and in the order they began.
    pub fn branches(&self) -> impl Iterator<Item = BranchView<'_>> {
        self.branches.iter().map(|(xid, state)| view(*xid, state))
    }
}

fn view(xid: Xid, state: &State) -> BranchView<'_> {
    BranchView {
        xid,
        state: name(state),
        vote: state.vote().map(|vote| match vote {
            Vote::Yes(_) => "yes",
            Vote::No(_) => "no",
            Vote::ReadOnly(_) => "read-only",
        }),
        ended: state.is_ended(),
        key: state.request().map(|(key, _)| key),
        members: members(state),
        in_doubt: if let State::Prepared(branch) = state { Some(branch) } else { None },
    }
}

fn name(state: &State) -> &'static str {
    match state {
        State::Working(_) | State::OnePhase(_) | State::Following(_) => "working",
        State::Prepared(_) => "in-doubt",
        State::Committing(_) => "committing",
        State::Enlisting(_) => "enlisting",
        State::Active(_) => "active",
        State::Aborting(_) | State::Dropping(_) => "aborting",
        State::Held(_) | State::Released(_) => "read-only",
        State::Committed(_) | State::OnePhaseDone(_) => "committed",
        // Given up is as good as a No: a coordinator commits only after Released.
        State::GivenUp(_)
        | State::Aborted(_)
        | State::Barred(_)
        | State::OnePhaseAborted(_)
        | State::Unknown
        | State::Past => "aborted",
    }
}

fn members(state: &State) -> &[Member] {
    match state {
        State::Working(Work { record, .. })
        | State::Prepared(InDoubt { record, .. })
        | State::Committing(Applying { record, .. })
        | State::Aborting(Undoing { record, .. }) => &record.members,
        State::Unknown
        | State::Past
        | State::Enlisting(_)
        | State::Active(_)
        | State::Dropping(_)
        | State::Held(_)
        | State::GivenUp(_)
        | State::Released(_)
        | State::Committed(_)
        | State::Aborted(_)
        | State::Barred(_)
        | State::OnePhase(_)
        | State::Following(_)
        | State::OnePhaseDone(_)
        | State::OnePhaseAborted(_) => &[],
    }
}
