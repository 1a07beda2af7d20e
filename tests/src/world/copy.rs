//! A copy of the coordinator's folder that ran once and was heard by one participant (t08b): whatever is lost then, the
//! original never gives that participant an order, and stops again and again.

use handfast_common::ids::{Age, Epoch, Name, Nonce, TxnId};
use handfast_common::messages::{Mark, Order, Stamp, ToParticipant};
use handfast_participant::protocol as p;

use super::{Event, LOG, MS, Summary, World};

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
            let message = ToParticipant { from, order: Order::Hello { name, coordinator, known: None } };
            self.participate(HEARER, p::Input::OrderReceived { reply, message });
            let now = self.now;
            self.until(now + 50 * MS);
        }
        self.copy = Copied::Seen;
        self.at(0, Event::StartCoordinator);
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
