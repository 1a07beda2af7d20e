//! From what was found in the store to a machine that keeps its promises.
//!
//! Records go through the same table as inputs do. A branch in doubt is in doubt again, whatever mark is known; what an
//! earlier incarnation only remembered is gone, and the new one refuses in its place.

use std::collections::{BTreeMap, BTreeSet};

use handfast_common::ids::{Age, LogId};
use handfast_common::messages::Seen;

use super::error::{Illegal, RecoveryError};
use super::event::Event;
use super::hello::Coordinator;
use super::record::{Done, Line, Prepared, Recovered};
use super::{Config, Effects, Participant};

impl Participant {
    /// Builds the machine of a new incarnation from all that was found in the store, and says what is to be done first:
    /// ask about every branch in doubt. Serve nobody before the resource manager holds all their locks again (A8).
    ///
    /// # Errors
    /// When the records exclude each other: nothing may be served from such a store.
    pub fn recover(config: Config, recovered: Recovered) -> Result<(Self, Effects), RecoveryError> {
        let mut out = Effects::new();
        let mut machine = Self {
            config,
            coordinators: BTreeMap::new(),
            branches: BTreeMap::new(),
            keys: BTreeSet::new(),
            starts: recovered.starts.iter().map(|start| (start.incarnation, start.sequence)).collect(),
            clock: Age::default(),
            stopped: false,
        };
        let lines = lines(recovered.lines, &recovered.prepared)?;
        for record in recovered.prepared {
            machine.feed(record.xid, Event::FoundPrepared(record), &mut out).map_err(excluded)?;
        }
        for done in recovered.done {
            machine.restore_done(done, &mut out)?;
        }
        // The marks come last: below them a second record of one transaction would pass unnoticed.
        for (log, line) in lines {
            let low = line.mark.as_ref().map(|mark| mark.low);
            machine.coordinators.insert(log, Coordinator::found(line));
            if let Some(low) = low {
                machine.forget_covered(log, low, &mut out).map_err(excluded)?;
            }
        }
        Ok((machine, out))
    }

    fn restore_done(&mut self, done: Done, out: &mut Effects) -> Result<(), RecoveryError> {
        let xid = done.xid;
        let key = done.one_phase.as_ref().map(|done| done.key);
        self.feed(xid, Event::FoundDone(done.one_phase), out).map_err(excluded)?;
        let Some(key) = key else { return Ok(()) };
        match self.claimants(key).find(|other| *other != xid) {
            Some(other) => Err(RecoveryError::KeyTwice { key, one: other.txn, other: xid.txn }),
            None => Ok(()),
        }
    }
}

/// One line per log. A prepare record counts as seen too: it was forced with its Yes, the line it rode on perhaps not.
fn lines(found: Vec<Line>, prepared: &[Prepared]) -> Result<BTreeMap<LogId, Line>, RecoveryError> {
    let mut lines: BTreeMap<LogId, Line> = BTreeMap::new();
    for line in found {
        let log = line.log;
        if lines.insert(log, line).is_some() {
            return Err(RecoveryError::TwoLines { log });
        }
    }
    for record in prepared {
        let log = record.xid.log;
        let line =
            lines.entry(log).or_insert(Line { log, name: None, seen: record.seen, mark: None, unproven: Vec::new() });
        line.seen = later(line.seen, record)?;
    }
    Ok(lines)
}

fn later(seen: Seen, record: &Prepared) -> Result<Seen, RecoveryError> {
    if record.seen.epoch == seen.epoch && record.seen.nonce != seen.nonce {
        return Err(RecoveryError::TwoNonces { txn: record.xid.txn, log: record.xid.log, epoch: seen.epoch.0 });
    }
    Ok(seen.max(record.seen))
}

fn excluded(error: Illegal) -> RecoveryError {
    RecoveryError::Excluded { txn: error.txn, record: error.event, state: error.state }
}
