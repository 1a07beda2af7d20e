//! Recovery from every prefix of the log of a random workload (A2), and at every step of it.

use std::collections::BTreeSet;

use handfast_common::messages::{OnePhaseResult, RegistryAct, Unconfirmed};

use super::*;
use crate::protocol::table::Phase;

/// `SplitMix64`: small, seeded, the same everywhere.
#[derive(Clone, Debug)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// What a client has heard, and how many writes of the log were on disk then.
#[derive(Default)]
struct Heard {
    committed: BTreeMap<Key, (TxnId, usize)>,
    aborted: BTreeMap<Key, TxnId>,
    keys: BTreeMap<TxnId, Key>,
}

struct Workload {
    bench: Bench,
    dice: Dice,
    heard: Heard,
    next_key: u64,
    /// Commits in one phase that the participants hold a marker of.
    markers: BTreeMap<u64, BTreeMap<TxnId, Unconfirmed>>,
}

impl Workload {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let config = Config { retention_count: 4 + dice.below(12), retention_ticks: 3, ..Config::default() };
        let bench = Bench::with_config(3, config);
        Self { bench, dice, heard: Heard::default(), next_key: 0, markers: BTreeMap::new() }
    }

    fn listen(&mut self, effects: &[Effect]) {
        for effect in effects {
            let Effect::Reply { told: Told::Outcome { txn: Some(txn), outcome, .. }, .. } = effect else { continue };
            let Some(key) = self.heard.keys.get(txn).copied() else { continue };
            match outcome {
                Outcome::Committed(_) => {
                    assert!(!self.heard.aborted.contains_key(&key), "{key} was told aborted, then committed");
                    let on_disk = self.bench.writes.iter().filter(|(n, ..)| *n <= self.bench.forced).count();
                    self.heard.committed.entry(key).or_insert((*txn, on_disk));
                }
                Outcome::Aborted(_) => {
                    assert!(!self.heard.committed.contains_key(&key), "{key} was told committed, then aborted");
                    self.heard.aborted.insert(key, *txn);
                }
                Outcome::Forgotten | Outcome::NotFound | Outcome::HeuristicMixed => {}
            }
        }
    }

    fn run(&mut self, effects: impl FnOnce(&mut Bench) -> Vec<Effect>) {
        let effects = effects(&mut self.bench);
        assert!(!is_stop(&effects), "{effects:?}");
        self.listen(&effects);
    }

    fn step(&mut self) {
        let live: Vec<TxnId> = self.bench.machine.live.keys().copied().collect();
        let n = 1 + self.dice.below(3);
        let pick = (!live.is_empty()).then(|| live[self.dice.below(live.len().max(1) as u64) as usize]);
        match (self.dice.below(16), pick) {
            (0..=2, _) => self.submit(),
            (13, _) => self.open(),
            (14, _) if self.dice.one_in(6) => self.restart_participant(n),
            (15, _) if self.dice.one_in(12) => self.operate(n),
            (3..=6, Some(txn)) => self.respond(txn, n),
            (7, _) => self.run(Bench::force),
            (8, Some(txn)) => {
                let which = if self.dice.one_in(4) { Timer::Prepare(txn) } else { Timer::Resend(txn) };
                self.run(|bench| bench.timer(which));
            }
            (9, _) => {
                self.run(|bench| bench.disconnect(n));
                self.greet(n);
            }
            (10, _) if self.dice.one_in(3) => self.run(|bench| bench.timer(Timer::Retention)),
            (11, _) if self.dice.one_in(8) => {
                let keep_all = self.dice.one_in(2);
                self.run(|bench| bench.restart(keep_all));
                for n in 1..=3 {
                    self.greet(n);
                }
            }
            _ => {
                if let Some(player) = self.bench.players.get_mut(&name(n)) {
                    player.sequence += 1;
                }
            }
        }
    }

    fn greet(&mut self, n: u64) {
        self.run(|bench| bench.connect(n));
        let unconfirmed = self.markers.get(&n).map(|markers| markers.values().cloned().collect()).unwrap_or_default();
        let welcome = Answer::Welcome(Welcome { seen: Vec::new(), unconfirmed, complete: true, remembers: true });
        self.run(|bench| bench.answer(n, welcome));
        let mark = self.bench.machine.mark_for(&name(n));
        self.markers.entry(n).or_default().retain(|txn, _| !mark.covers(*txn));
    }

    fn submit(&mut self) {
        self.next_key += 1;
        let k = self.next_key;
        let participants: Vec<u64> = (1..=3).filter(|_| self.dice.one_in(2)).collect();
        let request = self.bench.request(k, &participants);
        let effects = self.bench.give(Input::TransactionSubmitted { reply: ReplyTo(k), request, hash: hash(k) });
        let (log, epoch, nonce, sequence) = self.bench.machine.standing();
        self.heard.keys.insert(TxnId::new(log, epoch, sequence, nonce), key(k));
        self.listen(&effects);
    }

    /// Begins an interactive transaction, and mostly commits it.
    fn open(&mut self) {
        self.next_key += 1;
        let k = self.next_key;
        self.run(|bench| bench.begin(k));
        let (log, epoch, nonce, t) = self.bench.machine.standing();
        self.heard.keys.insert(TxnId::new(log, epoch, t, nonce), key(k));
        for n in 1..=3 {
            if self.dice.one_in(2) {
                self.run(|bench| bench.enlist(n, t));
            }
        }
        let shared = self.dice.one_in(2);
        match self.dice.below(6) {
            0 => self.run(|bench| bench.roll_back(t)),
            1 => {}
            _ => self.run(|bench| bench.commit(t, &[], shared)),
        }
    }

    fn restart_participant(&mut self, n: u64) {
        self.run(|bench| bench.disconnect(n));
        if let Some(player) = self.bench.players.get_mut(&name(n)) {
            player.incarnation += 1;
        }
        self.greet(n);
    }

    /// An operator lets inquiries go on without `n`, or removes it; then it comes back with another store.
    fn operate(&mut self, n: u64) {
        if self.dice.one_in(2) {
            return self.run(|bench| bench.order(RegistryAct::Release, n, false));
        }
        self.run(|bench| bench.order(RegistryAct::Remove, n, true));
        self.markers.remove(&n);
        let incarnation = self.bench.players[&name(n)].incarnation + 1;
        let store = StoreId(Uuid::from_u128(1_000 * u128::from(self.next_key) + u128::from(n)));
        self.bench.players.insert(name(n), Player { store, incarnation, sequence: 0 });
        self.run(|bench| register(bench, n, "new:1"));
        self.greet(n);
    }

    fn respond(&mut self, txn: TxnId, n: u64) {
        let Some(live) = self.bench.machine.live.get(&txn) else { return };
        let (xid, phase, alone, key, hash) = (live.xid, live.phase, live.branches.len() == 1, live.key, live.hash);
        if !live.branches.contains_key(&name(n)) {
            return;
        }
        let answer = if alone {
            let sent = !matches!(phase, Phase::Active | Phase::Gathering);
            let commits =
                self.markers.get(&n).is_some_and(|markers| markers.contains_key(&txn)) || !self.dice.one_in(3);
            let result = if commits && sent {
                let report = Unconfirmed { xid, key, hash, reads: payload("r") };
                self.markers.entry(n).or_default().insert(txn, report);
                OnePhaseResult::Committed(payload("r"))
            } else {
                OnePhaseResult::Aborted(Reason::new(ReasonKind::Conflict, ""))
            };
            // Some answers are lost.
            if commits && self.dice.one_in(4) {
                return;
            }
            Answer::OnePhaseEnded { xid, result }
        } else {
            match self.dice.below(5) {
                0 => Answer::Released { xid, held: !self.dice.one_in(5) },
                1 => Answer::Acknowledged { xid },
                2 if self.dice.one_in(4) => Answer::Voted { xid, vote: no(ReasonKind::Conflict) },
                2 => Answer::Voted { xid, vote: read("r") },
                _ => Answer::Voted { xid, vote: yes() },
            }
        };
        self.run(|bench| bench.answer(n, answer));
    }

    /// Recovers from every prefix and compares with what was told. A prefix stands for a crash at that moment: what was
    /// told later does not count.
    fn check_prefixes(&self) {
        let mut commit_records = BTreeSet::new();
        for writes in 0..=self.bench.writes.len() {
            if let Some((_, Record::Commit(commit), _)) = writes.checked_sub(1).map(|at| &self.bench.writes[at]) {
                commit_records.insert(commit.key);
            }
            let last = writes.checked_sub(1).map(|at| self.bench.writes[at].0).unwrap_or_default();
            let records = self.bench.prefix(writes);
            let nonce = Nonce(4_242);
            let (machine, effects) = Coordinator::recover(self.bench.config.clone(), LOG, nonce, records, last)
                .unwrap_or_else(|error| panic!("prefix of {writes} writes: {error}"));
            assert!(matches!(effects[..], [Effect::Append { force: true, record: Record::Epoch { .. }, .. }]));
            for (key, (txn, on_disk)) in &self.heard.committed {
                if *on_disk > writes || !commit_records.contains(key) {
                    continue;
                }
                let live = machine.live.get(txn).map(|live| live.phase);
                let known = live == Some(Phase::Committing)
                    || matches!(machine.outcome_of(*key), Some(Outcome::Committed(_)))
                    || machine.history.has_trimmed(*txn);
                assert!(known, "prefix of {writes} writes: {txn} was told committed and is {live:?}");
            }
            for txn in self.heard.aborted.values() {
                let ended = machine.history.ended.get(txn).map(|ended| &ended.outcome);
                assert!(!machine.live.contains_key(txn) && ended.is_none(), "{txn} was told aborted");
            }
        }
    }
}

#[test]
fn f04_f07_every_prefix_of_the_log_recovers_and_keeps_what_was_told() {
    let mut committed = 0;
    for seed in 0..120 {
        let mut workload = Workload::new(seed);
        for _ in 0..300 {
            workload.step();
        }
        workload.check_prefixes();
        committed += workload.heard.committed.len();
    }
    assert!(committed > 1_000, "the workload commits hardly anything: {committed}");
}
