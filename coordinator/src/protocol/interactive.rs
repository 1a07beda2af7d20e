//! Interactive transactions: begun, worked in elsewhere, and committed, rolled back or left alone by their client.
//!
//! An open one holds locks at the participants that have enlisted. So it ends by itself: by the time it may last, and by
//! the time it may go without work. The client's commit freezes the list of its branches; from there on it is a
//! transaction like any other, whose work has run already.

use std::collections::BTreeMap;
use std::time::Duration;

use handfast_common::ids::{ContentHash, Key, Name, TxnId, Xid};
use handfast_common::limits::{IDLE_PARTS, MAX_OPEN};
use handfast_common::messages::{Begin, Begun, Commit, Micros, Rejection, Task, Told};
use handfast_common::mutants::{self, Mutant};
use handfast_common::outcome::{Outcome, Reason, ReasonKind};

use super::inquiry::About;
use super::machine::Effects;
use super::submit::Standing;
use super::table::{Event, Phase, next};
use super::transaction::Transaction;
use super::{Coordinator, Effect, ReplyTo, Timer};

/// What the key of an interactive transaction stands for: its content is not known when it is begun. The same for all,
/// so that a key reused for a one-shot transaction is found out.
fn interactive_hash() -> ContentHash {
    ContentHash::of(&[b"interactive transaction"])
}

impl Coordinator {
    pub(super) fn on_begin_requested(&mut self, reply: ReplyTo, begin: &Begin, out: &mut Effects) {
        self.hear_clock(begin.clock);
        let begun = self.begun(begin, out);
        out.push(Effect::ReplyBegun { to: reply, begun });
    }

    fn begun(&mut self, begin: &Begin, out: &mut Effects) -> Begun {
        if let Some(open) = self.open_of(begin.key) {
            return Begun::Open { xid: open.xid, age: open.age, total: self.time_left(open) };
        }
        if let Some(told) = self.answer_known(begin.key, Some(interactive_hash()), None).flatten() {
            return Begun::Told(told);
        }
        let rejection = match self.standing_of(&begin.ticket) {
            Standing::Forgotten => return Begun::Told(self.told(None, Outcome::Forgotten)),
            Standing::OlderEpoch => return Begun::Told(self.answer_older(&[], About::Key(begin.key), out)),
            Standing::Present if !self.room => Rejection::DiskFull,
            Standing::Present if self.open >= MAX_OPEN => {
                Rejection::Overloaded(format!("{} interactive transactions are open", self.open))
            }
            Standing::Present => return self.open(begin, out),
        };
        Begun::Told(Told::Rejected(rejection))
    }

    fn open(&mut self, begin: &Begin, out: &mut Effects) -> Begun {
        let txn = self.draw_txn();
        let age = self.draw_age(begin.age, begin.clock);
        let phase = match next(None, Event::Opened) {
            Ok(phase) => phase,
            Err(illegal) => {
                self.stop(out, format!("transaction {txn}: {illegal}"));
                return Begun::Told(Told::Pending { txn: None });
            }
        };
        let total = Duration::from(begin.total).min(self.config.total_limit).max(Duration::from_millis(1));
        let xid = self.xid(txn);
        let transaction = Transaction {
            age,
            total: Micros::from(total),
            since_ms: self.now_ms,
            ..Transaction::new(xid, begin.key, interactive_hash(), phase, BTreeMap::new())
        };
        self.keys.insert(begin.key, txn);
        self.open += 1;
        self.live.insert(txn, transaction);
        out.push(Effect::SetTimer { timer: Timer::Total(txn), after: total, jitter: false });
        self.arm_idle(txn, out);
        Begun::Open { xid, age, total: Micros::from(total) }
    }

    /// The open transaction of a key.
    fn open_of(&self, key: Key) -> Option<&Transaction> {
        let txn = self.keys.get(&key)?;
        self.live.get(txn).filter(|transaction| transaction.phase == Phase::Active)
    }

    /// Told to the client only. What ends the transaction is its timer.
    fn time_left(&self, open: &Transaction) -> Micros {
        let elapsed = Duration::from_millis(self.now_ms.saturating_sub(open.since_ms));
        Micros::from(Duration::from(open.total).saturating_sub(elapsed))
    }

    /// Starts the idle time anew. A participant reports once in each part of it: one part less, and what it has locked
    /// is free again within the limit.
    pub(super) fn arm_idle(&self, txn: TxnId, out: &mut Effects) {
        let after = self.config.idle_limit * (IDLE_PARTS - 1) / IDLE_PARTS;
        out.push(Effect::SetTimer { timer: Timer::Idle(txn), after, jitter: false });
    }

    pub(super) fn on_idle(&mut self, txn: TxnId, out: &mut Effects) {
        let limit = self.config.idle_limit.as_millis();
        self.expire(txn, format!("no work in it within the idle limit of {limit} ms"), out);
    }

    pub(super) fn on_total(&mut self, txn: TxnId, out: &mut Effects) {
        let Some(total) = self.live.get(&txn).map(|transaction| Duration::from(transaction.total)) else { return };
        self.expire(txn, format!("open for longer than the {} ms it was given", total.as_millis()), out);
    }

    fn expire(&mut self, txn: TxnId, why: String, out: &mut Effects) {
        // Once its commit has come, the time for votes is what counts.
        if self.live.get(&txn).is_some_and(|transaction| transaction.phase == Phase::Active) {
            self.fail(txn, Reason::new(ReasonKind::Expired, why), out);
        }
    }

    /// A question with a ticket about a key whose transaction is open: its commit has not arrived, and must not commit
    /// any more once the client has heard so.
    pub(super) fn fence_open(&mut self, key: Key, out: &mut Effects) {
        if let Some(open) = self.open_of(key) {
            let txn = open.xid.txn;
            self.fail(txn, Reason::new(ReasonKind::Fenced, "asked about before its commit arrived"), out);
        }
    }

    pub(super) fn on_commit_requested(&mut self, reply: ReplyTo, commit: Commit, out: &mut Effects) {
        let txn = commit.xid.txn;
        let live = self.live.get(&txn).filter(|transaction| transaction.xid == commit.xid);
        if live.is_some_and(|transaction| transaction.phase == Phase::Active) {
            return self.freeze(reply, commit, out);
        }
        let told = match self.answer_of(commit.xid, Some(reply)) {
            Some(Some(told)) => told,
            Some(None) => return,
            None => self.answer_unknown_commit(&commit, out),
        };
        out.push(Effect::Reply { to: reply, told });
    }

    /// What is known of a transaction by its id; see `answer_txn`.
    fn answer_of(&mut self, xid: Xid, waiter: Option<ReplyTo>) -> Option<Option<Told>> {
        let ours = xid.log == self.log && self.decisions_of(xid.txn.epoch(), xid.nonce).is_some();
        if ours { self.answer_txn(xid.txn, None, waiter) } else { None }
    }

    /// A commit of a transaction that is neither live nor remembered: as for a key whose ticket is as old.
    fn answer_unknown_commit(&mut self, commit: &Commit, out: &mut Effects) -> Told {
        let Xid { log, txn, nonce } = commit.xid;
        let known_start = log == self.log && self.decisions_of(txn.epoch(), nonce).is_some();
        if !known_start || self.history.has_trimmed(txn) {
            return self.told(None, Outcome::Forgotten);
        }
        if txn.epoch() == self.epoch {
            return Told::Rejected(Rejection::Invalid(format!("transaction {txn} was never begun")));
        }
        // One that did nothing there has no branch there: without it a single one may be left, which commits alone.
        let worked = commit.counts.iter().filter(|count| count.operations > 0);
        let mut names: Vec<Name> = worked.map(|count| count.participant.clone()).collect();
        if commit.shared {
            // Others may have worked where the client does not know of.
            names.clear();
        }
        self.answer_older(&names, About::Txn(txn), out)
    }

    /// No more branches from here on. What the client knows of each goes out with its order.
    fn freeze(&mut self, reply: ReplyTo, commit: Commit, out: &mut Effects) {
        let txn = commit.xid.txn;
        let Some(transaction) = self.live.get_mut(&txn) else { return };
        transaction.waiters.push(reply);
        transaction.exact = !commit.shared;
        let after = Duration::from(commit.wait).min(self.config.prepare_timeout).max(Duration::from_millis(1));
        transaction.wait = Micros::from(after);
        let mut counts = BTreeMap::new();
        for count in &commit.counts {
            if counts.insert(&count.participant, count.operations).is_some() {
                let why = format!("'{}' is counted twice", count.participant);
                return self.fail(txn, Reason::new(ReasonKind::BadWork, why), out);
            }
        }
        let misses = !mutants::is(Mutant::EnlistmentIsLost);
        let worked = counts.iter().filter(|(_, operations)| misses && **operations > 0);
        if let Some(name) = worked.map(|(name, _)| *name).find(|name| !transaction.branches.contains_key(*name)) {
            let why = format!("operations were answered by '{name}', which has no branch of it");
            return self.fail(txn, Reason::new(ReasonKind::Lost, why), out);
        }
        if transaction.branches.is_empty() {
            if self.advance(txn, Event::NothingDone, out).is_some() {
                self.end(txn, None, out);
            }
            return;
        }
        for (name, branch) in &mut transaction.branches {
            let operations = counts.get(name).copied().unwrap_or(0);
            branch.task = Some(Task::Ran { operations, exact: !commit.shared });
        }
        if !self.room {
            return self.fail(txn, Reason::new(ReasonKind::DiskFull, "the coordinator's disk is nearly full"), out);
        }
        if self.advance(txn, Event::Frozen, out).is_some() {
            out.push(Effect::SetTimer { timer: Timer::Prepare(txn), after, jitter: false });
            self.arm_silence(out);
            self.gather(txn, out);
        }
    }

    pub(super) fn on_rollback_requested(&mut self, reply: ReplyTo, xid: Xid, out: &mut Effects) {
        let live = self.live.get(&xid.txn).filter(|transaction| transaction.xid == xid);
        if live.is_some_and(|transaction| transaction.phase == Phase::Active) {
            self.fail(xid.txn, Reason::new(ReasonKind::RolledBack, "its client rolled it back"), out);
        }
        // After the commit it is a question like one without a ticket: it changes nothing.
        let told = self.answer_of(xid, None).flatten();
        let told = told.unwrap_or_else(|| self.told(None, Outcome::NotFound));
        out.push(Effect::Reply { to: reply, told });
    }
}
