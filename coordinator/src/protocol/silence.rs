//! Participants that have stopped answering: they may hold their share of what is in flight, and no more.

use handfast_common::ids::{Name, TxnId};
use handfast_common::limits::{SILENCE_TICK, SILENT_SHARE};
use handfast_common::outcome::{Reason, ReasonKind};

use super::machine::Effects;
use super::table::Phase;
use super::{Coordinator, Effect, Timer};

impl Coordinator {
    /// How many transactions wait for `name` to say something.
    fn waiting_for(&self, name: &Name) -> usize {
        self.live.values().filter(|transaction| transaction.waits_for(name)).count()
    }

    /// What a participant that does not answer may hold.
    fn share(&self) -> usize {
        (self.config.max_in_flight / SILENT_SHARE).max(1)
    }

    /// Whether a participant that does not answer already holds its share of what may be in flight.
    pub(super) fn holds_its_share(&self, name: &Name) -> bool {
        let answers = self.peers.get(name).is_some_and(|peer| peer.ready().is_some() && !peer.silent);
        !answers && self.waiting_for(name) >= self.share()
    }

    pub(super) fn arm_silence(&mut self, out: &mut Effects) {
        if !self.silence_armed {
            self.silence_armed = true;
            out.push(Effect::SetTimer { timer: Timer::Silence, after: SILENCE_TICK, jitter: false });
        }
    }

    /// Looks who let a whole tick pass in silence while something waited for it, and takes back slots beyond its share.
    pub(super) fn on_silence(&mut self, out: &mut Effects) {
        self.silence_armed = false;
        let names: Vec<Name> = self.peers.keys().cloned().collect();
        for name in names {
            let waiting = self.waiting_for(&name);
            let Some(peer) = self.peers.get_mut(&name) else { continue };
            // What it was asked within this tick only does not count: it may be answering just now.
            peer.silent = waiting > 0 && peer.owed && !peer.heard;
            peer.owed = waiting > 0;
            peer.heard = false;
            if peer.silent {
                self.shed_at(&name, waiting, out);
            }
        }
        // What only waits for participants that were removed would be watched for ever.
        if self.live.values().any(|transaction| !transaction.is_at_rest()) {
            self.arm_silence(out);
        }
    }

    fn shed_at(&mut self, name: &Name, waiting: usize, out: &mut Effects) {
        let surplus = waiting.saturating_sub(self.share());
        let newest: Vec<TxnId> = self
            .live
            .iter()
            .rev()
            .filter(|(_, transaction)| {
                matches!(transaction.phase, Phase::Gathering | Phase::Preparing) && transaction.waits_for(name)
            })
            .map(|(txn, _)| *txn)
            .take(surplus)
            .collect();
        for txn in newest {
            let why = format!("'{name}' has stopped answering and holds its share of the transactions in flight");
            self.fail(txn, Reason::new(ReasonKind::Overloaded, why), out);
        }
    }
}
