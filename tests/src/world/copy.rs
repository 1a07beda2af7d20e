//! Copies of the coordinator's folder (t08b). One has run and was heard by one participant: whatever is lost then, the
//! original never gives that participant an order, and stops again and again. Another one is older than what participants
//! have heard: however often it is started it leaves no trace, and the original goes on as if it had never been.

use handfast_common::ids::{Age, Epoch, Name, Nonce, TxnId};
use handfast_common::messages::{Answer, FromParticipant, Mark, Order, Refusal, Seen, Stamp, ToParticipant};
use handfast_coordinator::protocol as c;
use handfast_participant::protocol as p;

use super::log::Log;
use super::{Event, LOG, MS, PARTICIPANTS, Summary, World};

/// The participant that the copy speaks to.
const HEARER: usize = 0;
/// The copy's nonce; the world draws others.
const FOREIGN: Nonce = Nonce(u64::MAX);

/// How far the copy's story is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Copied {
    /// There is none.
    No,
    /// It runs, and the original does not.
    Running,
    /// Its epoch is on a participant's disk, and it is gone.
    Seen,
}

impl World {
    /// Like [`World::run`], but after a while a copy says Hello to a participant in the original's next epoch. Nothing is
    /// promised about outcomes then; what is looked at is that the original finds out.
    ///
    /// # Panics
    /// When the original gives an order to the participant that has heard the copy.
    pub fn run_with_a_copy(mut self) -> Summary {
        for _ in 0..30 {
            let when = self.dice.below(2_000 * MS);
            self.at(when, Event::NewTransaction);
        }
        for _ in 0..6 {
            let when = self.dice.between(300, 2_000) * MS;
            self.at(when, Event::Fault);
        }
        self.until(250 * MS);
        self.let_the_copy_run();
        self.until(2_000 * MS);
        // Several starts without a fault: each of them finds out.
        self.heal();
        let stops = self.summary.stops;
        self.until(4_000 * MS);
        assert!(self.summary.stops > stops, "the original serves beside a participant that has heard its copy");
        self.summary
    }

    fn let_the_copy_run(&mut self) {
        self.crash_coordinator();
        self.copy = Copied::Running;
        let next = self.coordinator.log.epochs() + 1;
        let heard = |world: &Self| world.participants[HEARER].store.seen();
        while heard(self).is_none_or(|seen| seen.nonce != FOREIGN) {
            let mark = Mark { low: TxnId::new(LOG, Epoch(1), 0, Nonce(0)), except: Vec::new() };
            let epoch = Epoch(next);
            let from = Stamp { log: LOG, epoch, nonce: FOREIGN, decisions: 0, mark, clock: Age(0) };
            let name = self.participants[HEARER].name();
            self.events += 1;
            let reply = p::ReplyTo(self.events);
            let coordinator = Name::new("coordinator").expect("a plain name");
            // It is a copy of all of the log, and knows whatever has been seen.
            let after = heard(self);
            let message = ToParticipant { from, order: Order::Hello { name, coordinator, known: None, after } };
            self.participate(HEARER, p::Input::OrderReceived { reply, message });
            let now = self.now;
            self.until(now + 50 * MS);
        }
        self.copy = Copied::Seen;
        self.at(0, Event::StartCoordinator);
    }

    /// Like [`World::run`], but a copy from early on is started several times in between, in ever newer epochs, when all
    /// participants have heard of more than it has. Everything is promised nevertheless.
    ///
    /// # Panics
    /// When the copy changes anything anywhere, or a promise is broken.
    pub fn run_with_an_older_copy(mut self) -> Summary {
        for _ in 0..40 {
            let when = self.dice.below(2_500 * MS);
            self.at(when, Event::NewTransaction);
        }
        for _ in 0..10 {
            let when = self.dice.below(2_500 * MS);
            self.at(when, Event::NewInteractive);
        }
        for _ in 0..6 {
            let when = self.dice.between(300, 2_500) * MS;
            self.at(when, Event::Fault);
        }
        let taken = self.dice.between(100, 600);
        self.until(taken * MS);
        let older = self.coordinator.log.on_disk();
        self.until(1_000 * MS);
        self.let_all_hear_more_than(&older);
        self.crash_coordinator();
        self.copy = Copied::Running;
        self.start_again_and_again(older);
        self.copy = Copied::No;
        self.at(0, Event::StartCoordinator);
        let now = self.now;
        self.until(now + 500 * MS);
        self.settle()
    }

    /// Work goes on until every participant has on disk what the copy lacks: a start, or at least a decision.
    fn let_all_hear_more_than(&mut self, older: &Log) {
        let (machine, _) = recover(&self.coordinator.config, older, FOREIGN);
        let (_, Epoch(next), _, _) = machine.standing();
        let decisions = older.decisions();
        for round in 1.. {
            let more = |seen: Seen| seen.epoch >= Epoch(next) || seen.decisions > decisions;
            if self.participants.iter().all(|node| node.store.seen().is_some_and(more)) {
                return;
            }
            // There may be no more work that needs a decision.
            if round % 30 == 0 {
                self.crash_coordinator();
            }
            assert!(round < 1_000, "the participants never hear of more");
            let now = self.now;
            self.until(now + 50 * MS);
        }
    }

    /// Until the copy has counted its epochs beyond all that the original has, and some more.
    fn start_again_and_again(&mut self, mut older: Log) {
        let beyond = self.coordinator.log.epochs() + 3;
        while older.epochs() <= beyond {
            let nonce = Nonce(FOREIGN.0 - older.epochs());
            let (mut machine, mut effects) = recover(&self.coordinator.config, &older, nonce);
            let mut last = older.last();
            for effect in effects.drain(..) {
                if let c::Effect::Append { number, record, erase, .. } = effect {
                    older.append(number, record, erase);
                    last = number;
                }
            }
            older.force(last);
            let _ = machine.step(c::Input::RecordsForced { upto: last });
            // It stops at the first participant that answers; the next start may meet another one first.
            let first = usize::try_from(self.dice.below(PARTICIPANTS as u64)).unwrap_or(0);
            let met =
                (0..PARTICIPANTS).map(|n| (first + n) % PARTICIPANTS).find(|n| self.is_found_out(*n, &mut machine));
            self.summary.stops += u32::from(met.is_some());
            // Meanwhile what was on its way arrives, and nodes come and go.
            let now = self.now;
            self.until(now + 20 * MS);
        }
    }

    /// Whether a participant that is up has told the copy to stop; nothing changes there by it.
    fn is_found_out(&mut self, n: usize, copy: &mut c::Coordinator) -> bool {
        let name = self.participants[n].name();
        let effects = copy.step(c::Input::PeerConnected { name: name.clone() });
        let [c::Effect::Send { message, .. }] = &effects[..] else { panic!("not only Hello: {effects:?}") };
        let node = &mut self.participants[n];
        let Some(machine) = &mut node.machine else { return false };
        let before = machine.clone();
        let reply = p::ReplyTo(u64::MAX);
        let answers = machine.step(p::Input::OrderReceived { reply, message: message.clone() });
        assert_eq!(*machine, before, "an older copy leaves a trace at p{n}");
        let [p::Effect::Reply { answer: answer @ Answer::Refused(refusal), .. }] = &answers[..] else {
            panic!("an older copy is let in at p{n}: {answers:?}")
        };
        self.summary.seen_before += u32::from(matches!(refusal, Refusal::SeenBefore(_)));
        let message = FromParticipant { from: node.identity(), answer: answer.clone() };
        let effects = copy.step(c::Input::AnswerReceived { name, message });
        assert!(matches!(&effects[..], [c::Effect::Stop { .. }]), "an older copy goes on: {effects:?}");
        true
    }

    pub(super) fn is_held_back(&self) -> bool {
        self.copy == Copied::Running
    }

    /// Hello is the only thing that the original may say to the one who has heard the copy.
    pub(super) fn check_copy(&self, n: usize, order: &Order) {
        let trusting = self.copy == Copied::Seen && n == HEARER && !matches!(order, Order::Hello { .. });
        assert!(!trusting, "an order to p{n}, which has heard a copy: {order:?}");
    }

    /// The process ends, and a supervisor starts it again.
    pub(super) fn on_stop(&mut self, why: &str) {
        assert!(self.copy == Copied::Seen, "the coordinator stops: {why}");
        self.summary.stops += 1;
        self.crash_coordinator();
    }
}

/// A start of a copy.
fn recover(config: &c::Config, log: &Log, nonce: Nonce) -> (c::Coordinator, Vec<c::Effect>) {
    let recovered = c::Coordinator::recover(config.clone(), LOG, nonce, log.records(), log.last());
    recovered.unwrap_or_else(|error| panic!("a copy does not start: {error}"))
}
