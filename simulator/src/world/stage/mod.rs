//! The stage: a script is played in the world, act by act, and every message can be caught on its way.

mod acts;
mod catching;
mod facts;
mod twin;

use std::collections::{BTreeMap, BTreeSet};

use handfast_common::ids::{Key, Name, TxnId};
use handfast_common::messages::{AskPage, ExecuteResult, Told};
use handfast_common::operation::Operation;

use super::{Body, Event, World};
use crate::disk::Content;
use crate::oracles::Violation;
use crate::plan::{Host, MS};
use crate::timelines::script::{Act, Fact, Message, PATIENCE, Txn, Word};
use twin::Aside;

/// A script that is being played, and what it remembers.
#[derive(Debug)]
pub(super) struct Stage {
    acts: Vec<Act>,
    /// The act whose turn it is, and since when.
    at: usize,
    since: u64,
    /// What is to become of messages, the first rule that fits.
    rules: Vec<(Message, Fate)>,
    /// Messages that wait to be delivered, under the rule that caught them.
    waiting: Vec<(Message, Host, Host, Body)>,
    /// Messages that have come, by what they are; also under what is known of them in part.
    came: BTreeMap<Message, usize>,
    paused: BTreeSet<Host>,
    stalled: BTreeSet<Host>,
    saved: BTreeMap<(Host, &'static str), Content>,
    keys: BTreeMap<Txn, Key>,
    txns: BTreeMap<TxnId, Txn>,
    told: BTreeMap<Txn, Told>,
    /// Operations of interactive transactions, and what they were answered; of which the answer was heard before.
    steps: BTreeMap<Txn, Vec<(Name, Vec<Operation>)>>,
    answers: BTreeMap<(Txn, usize), ExecuteResult>,
    heard: BTreeSet<(Txn, usize)>,
    /// Who has stopped for good, or was hung up on, and why.
    stopped: Vec<(Host, String)>,
    refused: Vec<(Host, String)>,
    /// The coordinator that stands still.
    aside: Option<Box<Aside>>,
    twins: u64,
}

/// What becomes of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Held,
    AllHeld,
    Copied,
    Lost,
    AllLost,
}

impl Stage {
    pub(super) fn new(acts: Vec<Act>) -> Self {
        Self {
            acts,
            at: 0,
            since: 0,
            rules: Vec::new(),
            waiting: Vec::new(),
            came: BTreeMap::new(),
            paused: BTreeSet::new(),
            stalled: BTreeSet::new(),
            saved: BTreeMap::new(),
            keys: BTreeMap::new(),
            txns: BTreeMap::new(),
            told: BTreeMap::new(),
            steps: BTreeMap::new(),
            answers: BTreeMap::new(),
            heard: BTreeSet::new(),
            stopped: Vec::new(),
            refused: Vec::new(),
            aside: None,
            twins: 0,
        }
    }

    /// Whether a second coordinator was started.
    pub(super) fn has_twins(&self) -> bool {
        self.twins > 0
    }

    fn is_over(&self) -> bool {
        self.at == self.acts.len()
    }

    /// Whether a script waits for just this stop, now or later: any other is a finding.
    fn expects_stop(&self, host: Host, why: &str) -> bool {
        let is_it = |fact: &Fact| matches!(fact, Fact::Stopped(who, words) if *who == host && why.contains(words));
        self.acts[self.at..].iter().any(|act| matches!(act, Act::Until(fact) | Act::Now(fact) if is_it(fact)))
    }

    fn txn_under(&self, key: Key) -> Option<Txn> {
        self.keys.iter().find(|(_, known)| **known == key).map(|(txn, _)| *txn)
    }
}

impl World {
    /// Plays all acts; the clock goes on meanwhile.
    pub(super) fn play_out(&mut self) -> Result<(), Violation> {
        while self.stage.as_ref().is_some_and(|stage| !stage.is_over()) {
            self.play();
            let soon = self.now + MS;
            self.until(soon)?;
        }
        self.violation.take().map_or(Ok(()), Err)
    }

    /// Plays on, up to an act that has to wait.
    pub(super) fn play(&mut self) {
        while self.violation.is_none()
            && let Some(stage) = &self.stage
            && let Some(act) = stage.acts.get(stage.at).cloned()
        {
            let (at, waited) = (stage.at, self.now - stage.since);
            let goes_on = match &act {
                Act::Wait(length) => waited >= *length,
                Act::Until(fact) => self.holds(fact),
                Act::Now(fact) => {
                    let holds = self.holds(fact);
                    let verdict = if holds { Ok(()) } else { Err(format!("act {at}: it is not so that {fact:?}")) };
                    self.judge("timeline", verdict);
                    true
                }
                act => {
                    self.act(act.clone());
                    true
                }
            };
            if !goes_on {
                if waited > PATIENCE {
                    self.judge("timeline", Err(format!("act {at}: {act:?} has not come")));
                }
                return;
            }
            self.say(|| format!("ACT {at}: {act:?}"));
            let now = self.now;
            if let Some(stage) = &mut self.stage {
                stage.at += 1;
                stage.since = now;
            }
        }
    }

    /// The end is as the script says.
    pub(super) fn check_script(&mut self) -> Result<(), Violation> {
        let acts = self.stage.as_ref().map(|stage| stage.acts.clone()).unwrap_or_default();
        for (at, act) in acts.iter().enumerate() {
            if let Act::Finally(fact) = act
                && !self.holds(fact)
            {
                self.judge("timeline", Err(format!("act {at}: in the end it is not so that {fact:?}")));
            }
        }
        self.violation.take().map_or(Ok(()), Err)
    }

    /// All has been played: what was held up or stood still goes on, and whoever stood aside is gone.
    pub(super) fn clear_stage(&mut self) {
        if let Some(stage) = &mut self.stage {
            stage.rules.clear();
            stage.waiting.clear();
            stage.paused.clear();
            stage.stalled.clear();
            stage.aside = None;
        }
    }

    /// Until when an event has to wait because somebody stands still or a disk takes up nothing.
    pub(super) fn stands_still(&self, host: Host, event: &Event) -> Option<u64> {
        let stage = self.stage.as_ref()?;
        let stalled = matches!(event, Event::Write(..)) && stage.stalled.contains(&host);
        (stalled || stage.paused.contains(&host)).then_some(self.now + MS)
    }

    /// A process stops for good: true if the script says so.
    pub(super) fn stops_on_stage(&mut self, host: Host, why: &str) -> bool {
        let Some(stage) = self.stage.as_mut().filter(|stage| stage.expects_stop(host, why)) else { return false };
        stage.stopped.push((host, why.to_owned()));
        self.say(|| format!("{host:?} STOPS: {why}"));
        self.bury(host, None, acts::FOR_EVER);
        true
    }

    pub(super) fn hung_up_on_stage(&mut self, host: Host, why: &str) {
        if let Some(stage) = &mut self.stage {
            stage.refused.push((host, why.to_owned()));
        }
    }

    /// A client was told something.
    pub(super) fn told_on_stage(&mut self, key: Key, told: &Told) {
        if let Some(stage) = &mut self.stage
            && let Some(txn) = stage.txn_under(key)
        {
            stage.told.insert(txn, told.clone());
        }
    }

    /// Of which transaction of the script an id is.
    fn txn_of(&mut self, id: TxnId) -> Option<Txn> {
        let stage = self.stage.as_ref()?;
        if let Some(txn) = stage.txns.get(&id) {
            return Some(*txn);
        }
        let page =
            self.coordinator.machine.as_ref()?.page(&AskPage { after: None, within: Some((id, id)), ended: true });
        let key = page.lines.first().and_then(|line| line.key)?;
        let stage = self.stage.as_mut()?;
        let txn = stage.txn_under(key)?;
        stage.txns.insert(id, txn);
        Some(txn)
    }

    fn name_of(&self, host: Host) -> Option<Name> {
        match host {
            Host::Participant(n) => self.participants.get(n).map(super::participant::ParticipantNode::name),
            Host::Coordinator | Host::Clients => None,
        }
    }
}

/// What a client is told, in one word.
fn word(told: &Told) -> Word {
    use handfast_common::outcome::Outcome;
    match told {
        Told::Outcome { outcome: Outcome::Committed(_), .. } => Word::Committed,
        Told::Outcome { outcome: Outcome::Aborted(_), .. } => Word::Aborted,
        Told::Outcome { outcome: Outcome::Forgotten, .. } => Word::Forgotten,
        Told::Outcome { outcome: Outcome::NotFound | Outcome::HeuristicMixed, .. } => Word::NotFound,
        Told::Pending { .. } => Word::Pending,
        Told::Rejected(_) => Word::Rejected,
    }
}
