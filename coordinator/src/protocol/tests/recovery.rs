//! A log that this machine can't have written is an error that names the record and the state; nothing is guessed.

use super::*;
use crate::protocol::{OnePhaseOutcome, RecoveryError, Registration};

fn epoch(epoch: u64, decisions: u64) -> Record {
    Record::Epoch { epoch: Epoch(epoch), nonce: Nonce(100 + epoch), decisions }
}

fn participant(n: u64) -> Record {
    Record::Participant(Registration {
        name: name(n),
        store: store(n),
        incarnation: None,
        sequence: 0,
        address: String::new(),
    })
}

fn end(t: u64, acknowledged: &[u64]) -> Record {
    Record::End { txn: txn(t), acknowledged: acknowledged.to_vec() }
}

fn one_phase(t: u64, k: u64) -> Record {
    let reads = BranchReads { participant: name(1), reads: payload("r") };
    Record::OnePhase(OnePhaseOutcome { xid: xid(t), key: key(k), hash: hash(k), reads })
}

fn commit(t: u64, decision: u64) -> Record {
    commit_record(t, decision, &[(1, 0), (2, 0)], &[])
}

/// Recovers from an epoch, two participants, and these.
fn recover(records: Vec<Record>) -> Result<Coordinator, RecoveryError> {
    let records = [epoch(1, 0), participant(1), participant(2)].into_iter().chain(records);
    let records = (1..).zip(records).map(|(number, record)| (RecordNumber(number), record)).collect();
    Coordinator::recover(Config::default(), LOG, Nonce(999), records, RecordNumber(0)).map(|(machine, _)| machine)
}

#[test]
fn what_can_not_have_been_written_names_record_and_state() {
    let foreign_nonce = |record: Record| match record {
        Record::Commit(commit) => Record::Commit(Commit { xid: Xid { nonce: Nonce(1), ..commit.xid }, ..commit }),
        other => other,
    };
    let same_key = |record: Record| match record {
        Record::Commit(commit) => Record::Commit(Commit { key: key(1), ..commit }),
        other => other,
    };
    let id = |t| txn(t).to_string();
    for (records, expected) in [
        (
            vec![end(1, &[])],
            format!("record 4 (End): transaction {}: FoundEnd has no place before the transaction is known", id(1)),
        ),
        (
            vec![commit(1, 1), end(1, &[0, 0]), end(1, &[0, 0])],
            format!("record 6 (End): transaction {}: FoundEnd has no place in Ended", id(1)),
        ),
        (
            vec![commit(1, 1), commit(1, 2)],
            format!("record 5 (Commit): transaction {}: FoundCommit has no place in Committing", id(1)),
        ),
        (
            vec![commit(1, 1), end(1, &[0, 0]), commit(1, 2)],
            format!("record 6 (Commit): transaction {}: FoundCommit has no place in Ended", id(1)),
        ),
        (
            vec![one_phase(1, 1), one_phase(1, 1)],
            format!("record 5 (OnePhase): transaction {}: FoundOutcome has no place in Ended", id(1)),
        ),
        (
            vec![commit(1, 1), one_phase(1, 1)],
            format!("record 5 (OnePhase): transaction {}: FoundOutcome has no place in Committing", id(1)),
        ),
        (
            vec![foreign_nonce(commit(1, 1))],
            format!("record 4 (Commit): transaction {} belongs to no start of this log", id(1)),
        ),
        (
            vec![commit(1, 1), same_key(commit(2, 2))],
            format!("record 5 (Commit): key {} belongs to transaction {} already", key(1), id(1)),
        ),
        (vec![commit(1, 1), commit(2, 1)], "record 5 (Commit): decision 1 does not come after 1".to_owned()),
        (
            vec![commit_record(1, 1, &[], &[])],
            format!("record 4 (Commit): transaction {} is committed, but no branch of it is named", id(1)),
        ),
        (
            vec![commit(1, 1), end(1, &[0])],
            format!("record 5 (End): transaction {}: 1 acknowledgements for its branches", id(1)),
        ),
        (
            vec![commit_record(1, 1, &[(3, 0)], &[])],
            "record 4 (Commit): participant 'p3' has no record of its registration".to_owned(),
        ),
        (vec![participant(2)], "record 4 (Participant): participant 'p2' is registered twice".to_owned()),
        (vec![epoch(1, 0)], "record 4 (Epoch): epoch 1 does not come after the one before".to_owned()),
        (vec![commit(1, 3), epoch(2, 2)], "record 5 (Epoch): it counts 2 decisions, but there were 3".to_owned()),
        (
            vec![Record::Floor { floor: txn(1), decisions: 1 }, Record::Floor { floor: txn(2), decisions: 1 }],
            format!("record 5 (Floor): there is a floor already, at {}", id(1)),
        ),
        (
            vec![commit(1, 3), Record::Floor { floor: txn(1), decisions: 2 }],
            "record 5 (Floor): it counts 2 decisions, but there were 3".to_owned(),
        ),
        (
            vec![Record::Tick { number: 2, upto: txn(1) }, Record::Tick { number: 2, upto: txn(1) }],
            "record 5 (Tick): tick 2 does not come after the one before".to_owned(),
        ),
    ] {
        let error = recover(records.clone()).expect_err(&expected);
        assert_eq!(error.to_string(), expected, "{records:?}");
    }
}

#[test]
fn f20_a_record_of_another_log_is_an_error() {
    let Record::Commit(record) = commit(1, 1) else { panic!("a Commit") };
    let other = LogId(Uuid::from_u128(LOG.0.as_u128() | 1 << 120));
    let error = recover(vec![Record::Commit(Commit { xid: Xid { log: other, ..record.xid }, ..record })]);
    assert!(error.is_err());
}

#[test]
fn records_out_of_order_are_an_error() {
    let records = vec![(RecordNumber(2), epoch(1, 0)), (RecordNumber(2), participant(1))];
    let error = Coordinator::recover(Config::default(), LOG, Nonce(1), records, RecordNumber(0)).expect_err("order");
    assert_eq!(error.to_string(), "record 2 (Participant): its number does not come after 2");
}

#[test]
fn the_epoch_is_forced_before_anything_is_said_and_numbers_are_never_used_twice() {
    let (mut machine, effects) =
        Coordinator::recover(Config::default(), LOG, Nonce(101), Vec::new(), RecordNumber(41)).expect("empty");
    assert_eq!(effects, vec![append(42, epoch(1, 0), true)]);
    assert!(!machine.is_ready());
    assert_eq!(machine.step(Input::RecordsForced { upto: RecordNumber(41) }), vec![]);
    let effects = machine.step(Input::RecordsForced { upto: RecordNumber(42) });
    assert_eq!(effects, vec![timer(Timer::Retention, 300_000, false)]);
    assert!(machine.is_ready());
}

#[test]
fn f43_what_is_committed_is_taken_up_again_and_everybody_is_dialled() {
    let mut bench = Bench::with(2);
    bench.submit(1, &[1, 2]);
    bench.vote(1, 1, Vote::Yes(payload("a")));
    bench.vote(2, 1, yes());
    bench.force();
    let effects = bench.restart(false);
    let dial = |n: u64| Effect::Dial { name: name(n), address: format!("host:{n}") };
    assert_eq!(
        effects,
        vec![dial(1), dial(2), timer(Timer::Retention, 300_000, false), timer(Timer::Resend(txn(1)), 100, true),]
    );
    let reads = vec![BranchReads { participant: name(1), reads: payload("a") }];
    assert_eq!(bench.submit(1, &[1, 2]), vec![told(1, 1, 0, Outcome::Committed(reads))]);
}

#[test]
fn ids_do_not_repeat_after_a_restart() {
    let mut bench = Bench::with(2);
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..5 {
        for k in 0..3 {
            bench.submit(1_000 * bench.epoch + k, &[]);
            let _ = bench.machine.draw_txn();
            let (log, epoch, nonce, sequence) = bench.machine.standing();
            assert!(ids.insert(TxnId::new(log, epoch, sequence, nonce)));
        }
        bench.restart(false);
    }
    assert!(ids.iter().is_sorted());
}
