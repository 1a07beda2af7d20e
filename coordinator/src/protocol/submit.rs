//! Keys, tickets, and the start of a transaction.

use std::collections::BTreeMap;
use std::time::Duration;

use handfast_common::ids::{ContentHash, Key, Name, Ticket, TxnId};
use handfast_common::messages::{AskOutcome, Micros, Rejection, Submit, Told};
use handfast_common::mutants::{self, Mutant};
use handfast_common::outcome::{Outcome, Reason, ReasonKind};

use super::history::Ended;
use super::inquiry::About;
use super::machine::Effects;
use super::table::{Event, Phase, next};
use super::transaction::{Branch, Transaction};
use super::{Coordinator, Effect, ReplyTo, Timer};

/// Clients that may wait for one transaction; more of them are told "not yet" and ask again.
const MAX_WAITERS: usize = 16;
/// Names shown to a client that asked for an unknown participant.
const MAX_KNOWN_SHOWN: usize = 8;

/// What a ticket says about a key that is not known.
pub(super) enum Standing {
    /// Of another log, or so old that its outcome may have been trimmed.
    Forgotten,
    /// Of an earlier start of this coordinator.
    OlderEpoch,
    /// Of this start: the key has never arrived.
    Present,
}

impl Coordinator {
    pub(super) fn on_transaction_submitted(
        &mut self,
        reply: ReplyTo,
        request: Submit,
        hash: ContentHash,
        out: &mut Effects,
    ) {
        self.hear_clock(request.clock);
        if let Some(told) = self.answer_known(request.key, Some(hash), Some(reply)) {
            out.extend(told.map(|told| Effect::Reply { to: reply, told }));
            return;
        }
        let told = match self.standing_of(&request.ticket) {
            Standing::Forgotten => self.told(None, Outcome::Forgotten),
            Standing::OlderEpoch => {
                let names: Vec<Name> = request.branches.iter().map(|branch| branch.participant.clone()).collect();
                self.answer_older(&names, About::Key(request.key), out)
            }
            Standing::Present => match self.admit(&request) {
                Err(rejection) => Told::Rejected(rejection),
                Ok(()) => {
                    self.begin(reply, request, hash, out);
                    return;
                }
            },
        };
        out.push(Effect::Reply { to: reply, told });
    }

    pub(super) fn on_outcome_asked(&mut self, reply: ReplyTo, question: &AskOutcome, out: &mut Effects) {
        if question.ticket.is_some() {
            self.fence_open(question.key, out);
        }
        let known = self.answer_known(question.key, None, None).flatten();
        let told = match (known, &question.ticket) {
            (Some(told), _) => told,
            (None, None) => self.told(None, Outcome::NotFound),
            (None, Some(ticket)) => match self.standing_of(ticket) {
                Standing::Forgotten => self.told(None, Outcome::Forgotten),
                Standing::OlderEpoch => self.answer_older(&question.participants, About::Key(question.key), out),
                Standing::Present => self.fence(question.key, out),
            },
        };
        out.push(Effect::Reply { to: reply, told });
    }

    /// The answer for a key that is known. `Some(None)`: the asker has been put on the list of those who wait.
    pub(super) fn answer_known(
        &mut self,
        key: Key,
        hash: Option<ContentHash>,
        waiter: Option<ReplyTo>,
    ) -> Option<Option<Told>> {
        let txn = *self.keys.get(&key)?;
        self.answer_txn(txn, hash, waiter)
    }

    /// The same for a transaction that is live or has ended and is remembered.
    pub(super) fn answer_txn(
        &mut self,
        txn: TxnId,
        hash: Option<ContentHash>,
        waiter: Option<ReplyTo>,
    ) -> Option<Option<Told>> {
        if let Some(ended) = self.history.ended.get(&txn) {
            let same = ended.hash.is_none() || hash.is_none() || ended.hash == hash;
            return Some(Some(if same {
                Told::Outcome { txn: Some(txn), age: ended.age, outcome: ended.outcome.clone() }
            } else {
                Told::Rejected(Rejection::KeyReused)
            }));
        }
        let transaction = self.live.get_mut(&txn)?;
        if hash.is_some_and(|hash| hash != transaction.hash) {
            return Some(Some(Told::Rejected(Rejection::KeyReused)));
        }
        match transaction.phase {
            Phase::Committing | Phase::Recording => {
                let outcome = Outcome::Committed(transaction.reads());
                Some(Some(Told::Outcome { txn: Some(txn), age: transaction.age, outcome }))
            }
            Phase::Active
            | Phase::Gathering
            | Phase::Preparing
            | Phase::Releasing
            | Phase::Deciding
            | Phase::OnePhase
            | Phase::Asking
            | Phase::Ended => match waiter {
                Some(waiter) if transaction.waiters.len() < MAX_WAITERS => {
                    transaction.waiters.push(waiter);
                    Some(None)
                }
                Some(_) | None => Some(Some(Told::Pending { txn: Some(txn) })),
            },
        }
    }

    pub(super) fn standing_of(&self, ticket: &Ticket) -> Standing {
        let known_start = self.decisions_of(ticket.epoch, ticket.nonce).is_some();
        if ticket.log != self.log || !known_start || self.history.may_have_forgotten(ticket.epoch.0, ticket.sequence) {
            Standing::Forgotten
        } else if ticket.epoch < self.epoch && !mutants::is(Mutant::OlderTicketRuns) {
            Standing::OlderEpoch
        } else {
            Standing::Present
        }
    }

    /// An unknown key of an earlier start did not commit, if nobody can have lost the memory of it. A single branch
    /// may have committed at its participant alone, so that one must have listed what it did, however long it takes.
    /// Nobody listed stands for the whole registry.
    pub(super) fn answer_older(&mut self, participants: &[Name], about: About, out: &mut Effects) -> Told {
        let heard = if participants.len() > 1 {
            self.guard_holds(participants, about, out)
        } else if participants.is_empty() {
            let everyone = self.everyone();
            self.lists_are_in(&everyone, about, out)
        } else {
            self.lists_are_in(participants, about, out)
        };
        if heard || mutants::is(Mutant::OlderKeyIsGuessed) {
            let reason = Reason::new(ReasonKind::Presumed, "an earlier start of the coordinator did not commit it");
            self.told(None, Outcome::Aborted(reason))
        } else {
            Told::Pending { txn: None }
        }
    }

    /// A key that was asked about before it arrived must not commit later: it takes a transaction's place, aborted.
    fn fence(&mut self, key: Key, out: &mut Effects) -> Told {
        let txn = self.draw_txn();
        let outcome = Outcome::Aborted(Reason::new(ReasonKind::Fenced, "asked about before it arrived"));
        if !mutants::is(Mutant::FenceIsNotKept) {
            self.keys.insert(key, txn);
        }
        let ended = Ended { key, hash: None, age: self.clock, outcome: outcome.clone(), records: Vec::new() };
        self.file(txn, ended, out);
        self.told(Some(txn), outcome)
    }

    pub(super) fn told(&self, txn: Option<TxnId>, outcome: Outcome) -> Told {
        Told::Outcome { txn, age: self.clock, outcome }
    }

    /// Everything that can be wrong with a request before it becomes a transaction.
    fn admit(&self, request: &Submit) -> Result<(), Rejection> {
        let branches = &request.branches;
        if branches.is_empty() {
            return Err(Rejection::Invalid("a transaction without branches".into()));
        }
        if branches.len() > self.config.max_branches {
            let (is, limit) = (branches.len(), self.config.max_branches);
            return Err(Rejection::Invalid(format!("{is} branches are over the limit of {limit}")));
        }
        let bytes: usize = branches.iter().map(|branch| branch.work.0.len()).sum();
        if bytes > self.config.max_transaction_bytes {
            let limit = self.config.max_transaction_bytes;
            return Err(Rejection::Invalid(format!("{bytes} bytes of work are over the limit of {limit}")));
        }
        let mut names: Vec<&Name> = branches.iter().map(|branch| &branch.participant).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let name = twice[0];
            return Err(Rejection::Invalid(format!(
                "participant '{name}' is named twice; put its operations together"
            )));
        }
        if let Some(name) = names.iter().find(|name| !self.peers.contains_key(**name)) {
            let known = self.peers.keys().take(MAX_KNOWN_SHOWN).cloned().collect();
            return Err(Rejection::UnknownParticipant { name: (*name).clone(), known });
        }
        if !self.room {
            return Err(Rejection::DiskFull);
        }
        if self.undecided >= self.config.max_in_flight {
            return Err(Rejection::Overloaded(format!("{} transactions are in flight", self.undecided)));
        }
        if let Some(name) = names.iter().find(|name| self.holds_its_share(name)) {
            return Err(Rejection::Overloaded(format!("'{name}' does not answer and holds its share already")));
        }
        Ok(())
    }

    fn begin(&mut self, reply: ReplyTo, request: Submit, hash: ContentHash, out: &mut Effects) {
        let txn = self.draw_txn();
        let age = self.draw_age(request.age, request.clock);
        let phase = match next(None, Event::Began) {
            Ok(phase) => phase,
            Err(illegal) => return self.stop(out, format!("transaction {txn}: {illegal}")),
        };
        let after = Duration::from(request.wait).min(self.config.prepare_timeout).max(Duration::from_millis(1));
        let branches: BTreeMap<Name, Branch> =
            request.branches.into_iter().map(|branch| (branch.participant, Branch::waiting(branch.work))).collect();
        let transaction = Transaction {
            age,
            wait: Micros::from(after),
            waiters: vec![reply],
            since_ms: self.now_ms,
            ..Transaction::new(self.xid(txn), request.key, hash, phase, branches)
        };
        if !mutants::is(Mutant::KeyIsNotKept) {
            self.keys.insert(request.key, txn);
        }
        self.undecided += 1;
        self.live.insert(txn, transaction);
        out.push(Effect::SetTimer { timer: Timer::Prepare(txn), after, jitter: false });
        self.arm_silence(out);
        self.gather(txn, out);
    }
}
