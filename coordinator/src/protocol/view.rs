//! What listings show. Reads the state, never changes it.

use std::ops::Bound;

use handfast_common::ids::{Key, Name, StoreId, TxnId};
use handfast_common::limits::MAX_PAGE;
use handfast_common::messages::{AskPage, BranchLine, RegistryLine, RegistryPage, TxnLine, TxnPage};
use handfast_common::outcome::Outcome;

use super::Coordinator;
use super::history::Ended;
use super::peers::{Peer, PeerState};
use super::record::Registration;
use super::table::Phase;
use super::transaction::{Branch, BranchState, Transaction};

/// Branch lines of one page, together: a page must fit a frame.
const MAX_BRANCH_LINES: usize = 4 * MAX_PAGE;

impl Coordinator {
    /// A page of transactions in order of id.
    #[must_use]
    pub fn page(&self, ask: &AskPage) -> TxnPage {
        let from = match (ask.after, ask.within) {
            (Some(after), _) => Bound::Excluded(after),
            (None, Some((first, _))) => Bound::Included(first),
            (None, None) => Bound::Unbounded,
        };
        let upto = ask.within.map_or(Bound::Unbounded, |(_, last)| Bound::Included(last));
        if let (Bound::Included(first) | Bound::Excluded(first), Bound::Included(last)) = (from, upto)
            && first >= last
            && !(first == last && matches!(from, Bound::Included(_)))
        {
            return TxnPage { lines: Vec::new(), more: false };
        }
        let mut live = self.live.range((from, upto)).peekable();
        let mut ended = self.history.ended.range((from, upto)).peekable();
        let mut lines = Vec::new();
        let mut branches = 0;
        loop {
            let next_live = live.peek().map(|(txn, _)| **txn);
            let next_ended = ended.peek().filter(|_| ask.ended).map(|(txn, _)| **txn);
            let line = match (next_live, next_ended) {
                (None, None) => return TxnPage { lines, more: false },
                (Some(a), Some(b)) if b < a => ended.next().map(|(txn, ended)| ended_line(*txn, ended)),
                (None, Some(_)) => ended.next().map(|(txn, ended)| ended_line(*txn, ended)),
                (Some(_), _) => live.next().map(|(txn, live)| self.live_line(*txn, live)),
            };
            let Some(line) = line else { return TxnPage { lines, more: false } };
            branches += line.branches.len();
            lines.push(line);
            if lines.len() == MAX_PAGE || branches >= MAX_BRANCH_LINES {
                return TxnPage { lines, more: true };
            }
        }
    }

    fn live_line(&self, txn: TxnId, transaction: &Transaction) -> TxnLine {
        let branches = transaction
            .branches
            .iter()
            .map(|(name, branch)| BranchLine {
                participant: name.clone(),
                vote: vote_name(transaction.phase, branch.state),
                state: self.branch_state(name, transaction.phase, branch.state).to_owned(),
            })
            .collect();
        let since_ms = self.now_ms.saturating_sub(transaction.since_ms);
        let state = transaction.phase.name().to_owned();
        TxnLine { txn, key: Some(transaction.key), state, since_ms, branches }
    }

    fn branch_state(&self, name: &Name, phase: Phase, state: BranchState) -> &'static str {
        let reachable = self.peers.get(name).is_some_and(|peer| peer.ready().is_some());
        match (phase, state) {
            (Phase::Committing, BranchState::Yes) if !reachable => "unreachable",
            (Phase::Committing, BranchState::Yes) => "committing",
            (_, BranchState::Open) => "active",
            (_, BranchState::Removed) => "removed",
            (_, BranchState::Waiting) => "waiting",
            (_, BranchState::Asked) => "asked",
            (_, BranchState::Yes) => "prepared",
            (_, BranchState::No) => "aborted",
            (_, BranchState::ReadOnly) => "read-only",
            (_, BranchState::Released) => "released",
            (_, BranchState::Acknowledged) => "committed",
        }
    }

    /// Where a participant was last heard of, or an operator said it is.
    #[must_use]
    pub fn address_of(&self, name: &Name) -> Option<String> {
        let given = self.peers.get(name).map(|peer| peer.given.clone()).filter(|given| !given.is_empty());
        let told = || self.registry.get(name).map(|(known, _)| known.address.clone());
        given.or_else(told).filter(|address| !address.is_empty())
    }

    /// A few names that are registered, for error lines.
    #[must_use]
    pub fn some_names(&self) -> Vec<Name> {
        const FEW: usize = 8;
        self.registry.keys().take(FEW).cloned().collect()
    }

    /// The registry, for an operator.
    #[must_use]
    pub fn registry(&self) -> RegistryPage {
        let known = self.registry.iter().map(|(name, (known, _))| {
            let peer = self.peers.get(name);
            let why = peer.and_then(|peer| peer.refusal.as_ref()).map(|(_, why)| why.clone());
            RegistryLine {
                state: peer.map_or("disconnected", peer_state).to_owned(),
                why,
                unacknowledged: self.owed_by(name),
                waited_for: self.is_waited_for(name),
                ..registry_line(known)
            }
        });
        let removed = self.removed.iter().map(|removal| RegistryLine {
            why: Some(removal.reason.clone()),
            unacknowledged: self.left_by(&removal.registration.name, removal.registration.store),
            ..registry_line(&removal.registration)
        });
        let mut lines: Vec<RegistryLine> = removed.collect();
        // Of one name the newest first.
        lines.reverse();
        lines.sort_by(|a, b| a.name.cmp(&b.name));
        let mut lines: Vec<RegistryLine> = known.chain(lines).collect();
        lines.truncate(MAX_PAGE);
        RegistryPage { lines }
    }

    /// How many transactions this store, which was removed, has not answered for.
    fn left_by(&self, name: &Name, store: StoreId) -> u64 {
        let left = |branch: &Branch| branch.state == BranchState::Removed && branch.bound_to() == Some(store);
        self.live.values().filter(|transaction| transaction.branches.get(name).is_some_and(left)).count() as u64
    }

    /// How many transactions have not ended, and how many of them are undecided.
    #[must_use]
    pub fn load(&self) -> (usize, usize) {
        (self.live.len(), self.undecided)
    }

    /// What is known under a key, for tests and listings: whether its transaction is committed for good.
    #[must_use]
    pub fn outcome_of(&self, key: Key) -> Option<&Outcome> {
        let txn = self.keys.get(&key)?;
        self.history.ended.get(txn).map(|ended| &ended.outcome)
    }

    /// Each participant that was heard of, with the state of its connection.
    pub fn participants(&self) -> impl Iterator<Item = (&Name, &'static str)> {
        self.peers.iter().map(|(name, peer)| (name, peer_state(peer)))
    }
}

fn peer_state(peer: &Peer) -> &'static str {
    match &peer.state {
        PeerState::Ready(_) if peer.silent => "silent",
        PeerState::Ready(_) => "ready",
        PeerState::Refused => "refused",
        // It is dialled again and again, and nothing has changed yet.
        PeerState::Disconnected | PeerState::Greeting if peer.refusal.is_some() => "refused",
        PeerState::Disconnected => "disconnected",
        PeerState::Greeting | PeerState::Writing(_) => "greeting",
    }
}

/// A line of the registry as it is for one that was removed.
fn registry_line(known: &Registration) -> RegistryLine {
    RegistryLine {
        name: known.name.clone(),
        store: known.store,
        incarnation: known.incarnation,
        sequence: known.sequence,
        address: known.address.clone(),
        state: "removed".to_owned(),
        why: None,
        unacknowledged: 0,
        waited_for: false,
    }
}

fn vote_name(phase: Phase, state: BranchState) -> Option<String> {
    match state {
        BranchState::Open | BranchState::Waiting | BranchState::Asked => None,
        // One that decides alone is not asked for a vote.
        BranchState::Removed if phase == Phase::Asking => None,
        BranchState::No => Some("no".to_owned()),
        BranchState::Yes | BranchState::Acknowledged | BranchState::Removed => Some("yes".to_owned()),
        BranchState::ReadOnly | BranchState::Released => Some("read-only".to_owned()),
    }
}

fn ended_line(txn: TxnId, ended: &Ended) -> TxnLine {
    let state = match ended.outcome {
        Outcome::Committed(_) => "committed",
        Outcome::Aborted(_) => "aborted",
        Outcome::HeuristicMixed => "heuristic-mixed",
        Outcome::Forgotten | Outcome::NotFound => "forgotten",
    };
    TxnLine { txn, key: Some(ended.key), state: state.to_owned(), since_ms: 0, branches: Vec::new() }
}
