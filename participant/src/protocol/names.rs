//! The guard against lost memory, as far as a participant can help it: whether its store remembers what a coordinator knows
//! of it, and whether a coordinator's name still stands for the same log.

use handfast_common::ids::{LogId, Name, Xid};
use handfast_common::messages::KnownStart;

use super::branch::State;
use super::hello::Coordinator;
use super::{Effect, Effects, Participant};

impl Participant {
    /// Whether this store remembers the start that a Hello names. Of the present one the machine can't tell what is on disk;
    /// the driver says that with every answer, and the coordinator compares.
    pub(super) fn remembers(&self, known: Option<KnownStart>) -> bool {
        known.is_none_or(|known| {
            known.incarnation == self.config.incarnation
                || self.starts.get(&known.incarnation).is_some_and(|sequence| *sequence >= known.sequence)
        })
    }

    /// A coordinator says Hello by a name. If another log had it, that coordinator was wiped, or two have one name: the
    /// other log is returned while something here waits for it alone, else it gives the name up.
    pub(super) fn take_name(&mut self, log: LogId, name: &Name, out: &mut Effects) -> Result<(), LogId> {
        let holder = |(other, coordinator): (&LogId, &Coordinator)| {
            (*other != log && coordinator.name() == Some(name)).then_some(*other)
        };
        let holders: Vec<LogId> = self.coordinators.iter().filter_map(holder).collect();
        if let Some(other) = holders.iter().find(|other| self.owes(**other)) {
            return Err(*other);
        }
        for other in holders {
            let line = self.coordinators.get_mut(&other).and_then(|coordinator| coordinator.line.as_mut());
            let Some(line) = line else { continue };
            line.name = None;
            out.push(Effect::NoteLine(line.clone()));
            let line = format!(
                "coordinator '{name}' comes with another log, {}, than before, {}: it is a new one, or its folder was \
                 replaced; nothing here waits for the old one",
                log.0, other.0
            );
            out.push(Effect::Say { xid: None, line });
        }
        self.rename(log, name, out);
        Ok(())
    }

    /// In the same epoch the name stands in the line that is there; a newer one brings its own.
    fn rename(&mut self, log: LogId, name: &Name, out: &mut Effects) {
        let Some(coordinator) = self.coordinators.get_mut(&log).filter(|coordinator| !coordinator.is_entering()) else {
            return;
        };
        if let Some(line) = coordinator.line.as_mut().filter(|line| line.name.as_ref() != Some(name)) {
            line.name = Some(name.clone());
            out.push(Effect::NoteLine(line.clone()));
        }
    }

    /// Whether something here can be ended by the coordinator of this log only, or has still to be confirmed by it; or
    /// whether it is just saying Hello, and so is alive.
    fn owes(&self, log: LogId) -> bool {
        let waits = |(_, state): (&Xid, &State)| match state {
            State::Working(_)
            | State::Prepared(_)
            | State::Committing(_)
            | State::Aborting(_)
            | State::OnePhase(_)
            | State::Following(_)
            | State::OnePhaseDone(_) => true,
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
            | State::OnePhaseAborted(_) => false,
        };
        self.coordinators.get(&log).is_some_and(Coordinator::is_entering) || self.branches_of(log).any(waits)
    }
}
