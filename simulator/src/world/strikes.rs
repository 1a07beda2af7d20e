//! Faults that wait for a step: whoever comes to it is struck there, and not at some moment near it.

use handfast_common::storage::StorageError;

use super::participant::Waiter;
use super::{Event, World};
use crate::matrix::{Kind, Step};
use crate::plan::{Host, MS, Strike};

impl World {
    /// Somebody comes to a step. True if it is gone then.
    pub(super) fn comes_to(&mut self, host: Host, step: Step) -> bool {
        if self.strikes.is_empty() {
            return false;
        }
        let strikes = |(who, at, strike): &(Host, Step, Strike)| {
            (*who, *at) == (host, step) && !matches!(strike, Strike::Disk(..)) && self.has_prey(host, *strike)
        };
        let Some(at) = self.strikes.iter().position(strikes) else { return false };
        let (.., strike) = self.strikes.remove(at);
        self.say(|| format!("{host:?} comes to {step:?}: {strike:?}"));
        self.summary.injected += 1;
        match strike {
            Strike::Kill(down) => {
                self.hit(step, Kind::Kill);
                if self.restored && host == Host::Coordinator {
                    self.hit(Step::Op3, Kind::Kill);
                }
                self.crash(host, None, down);
                return true;
            }
            Strike::Power(loss, down) => {
                self.hit(step, Kind::Power);
                self.crash(host, Some(loss), down);
                return true;
            }
            Strike::Pause(length) => {
                self.hit(step, Kind::Slow);
                self.pause(host, length);
            }
            Strike::Leap => {
                self.hit(step, Kind::Time);
                self.run_out(host);
            }
            Strike::Cancel => {
                self.hit(step, Kind::Cancelled);
                self.cancel_handlers(host);
            }
            // They wait for a write.
            Strike::Disk(..) => {}
        }
        false
    }

    /// A batch is about to be written: its first operation fails if that is planned.
    pub(super) fn comes_to_write(&mut self, host: Host, steps: &[Step]) {
        let strikes = |(who, at, strike): &(Host, Step, Strike)| {
            *who == host && steps.contains(at) && matches!(strike, Strike::Disk(..))
        };
        let Some(at) = self.strikes.iter().position(strikes) else { return };
        let (.., strike) = self.strikes.remove(at);
        if let (Strike::Disk(trouble, down), Some(disk)) = (strike, self.disk(host)) {
            disk.plan(disk.operations() + 1, trouble);
            self.stays_away(host, down);
        }
    }

    /// A batch could not be written: what a disk did is counted at every step that the batch is of.
    pub(super) fn write_failed(&mut self, host: Host, steps: &[Step], error: &StorageError) {
        self.disk_struck(host, steps);
        self.storage_failed(host, error);
    }

    /// A strike that would change nothing waits until it does.
    fn has_prey(&self, host: Host, strike: Strike) -> bool {
        match (strike, host) {
            (Strike::Cancel, Host::Coordinator) => self.coordinator.is_waited_for(),
            (Strike::Cancel, Host::Participant(n)) => self.participants[n].is_waited_for(),
            (_, Host::Coordinator | Host::Participant(_)) => true,
            (_, Host::Clients) => false,
        }
    }

    /// Whoever waits for an answer gets none: the driver's handlers are gone, and what they queued is not.
    fn cancel_handlers(&mut self, host: Host) {
        match host {
            Host::Coordinator => self.coordinator.cancel(),
            Host::Participant(n) => {
                let dropped = self.participants[n].cancel();
                // A call without an answer takes its connection with it.
                let ours = |waiter: &Waiter| matches!(waiter, Waiter::Coordinator(_));
                if let (true, Some(connection)) = (dropped.iter().any(ours), self.participants[n].connection) {
                    let after = self.dice.between(10, 2_000) * MS;
                    self.at(after, Event::Break(n, connection));
                }
            }
            Host::Clients => {}
        }
    }

    pub(super) fn pause(&mut self, host: Host, length: u64) {
        let until = self.until_at_most(length);
        match host {
            Host::Coordinator => self.coordinator.paused_until = until,
            Host::Participant(n) => self.participants[n].paused_until = until,
            Host::Clients => {}
        }
    }

    /// All timers run out at once, and what the driver tells of the time jumps by an hour, forth or back.
    pub(super) fn run_out(&mut self, host: Host) {
        match host {
            Host::Coordinator => {
                let hour = 3_600_000;
                self.coordinator.skew_ms += if self.now.is_multiple_of(2) { hour } else { -hour };
                let start = self.coordinator.start;
                let all: Vec<_> =
                    self.coordinator.timers.all().map(|(timer, number)| (timer.clone(), *number)).collect();
                for (timer, number) in all {
                    self.at(0, Event::CoordinatorTimer(start, timer, number));
                }
            }
            Host::Participant(n) => {
                let start = self.participants[n].start;
                let all: Vec<_> = self.participants[n].timers.all().map(|(timer, number)| (*timer, *number)).collect();
                for (timer, number) in all {
                    self.at(0, Event::ParticipantTimer(n, start, timer, number));
                }
            }
            Host::Clients => {}
        }
    }
}
