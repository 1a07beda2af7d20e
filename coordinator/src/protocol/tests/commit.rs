//! The straight way: Prepare, Yes, force, tell, Commit, acknowledge, end.

use super::*;

#[test]
fn a_transaction_of_two_branches_commits_with_one_forced_and_one_lazy_record() {
    let mut bench = Bench::with(2);
    let from = bench.stamp(0, txn(1), 1);
    assert_eq!(
        bench.submit(1, &[1, 2]),
        vec![
            timer(Timer::Prepare(txn(1)), 2_000, false),
            timer(Timer::Silence, 250, false),
            prepare(&bench, 1, 1, 1, &[1, 2], from.clone()),
            prepare(&bench, 2, 1, 1, &[1, 2], from),
        ]
    );
    assert_eq!(bench.vote(1, 1, yes()), vec![]);
    assert_eq!(bench.vote(2, 1, yes()), vec![append(4, commit_record(1, 1, &[(1, 0), (2, 0)], &[]), true)]);
    let from = bench.stamp(1, txn(1), 1);
    assert_eq!(
        bench.force(),
        vec![
            told(1, 1, 1, committed()),
            decide(&bench, 1, 1, Decision::Commit, from.clone()),
            decide(&bench, 2, 1, Decision::Commit, from),
            timer(Timer::Resend(txn(1)), 100, true),
        ]
    );
    assert_eq!(bench.acknowledge(1, xid(1)), vec![]);
    let end = Record::End { txn: txn(1), acknowledged: vec![0, 0] };
    assert_eq!(bench.acknowledge(2, xid(1)), vec![append(5, end, false)]);
    assert_eq!(bench.machine.load(), (0, 0));
}

#[test]
fn three_branches_are_one_record_that_names_stores_sequences_and_reads() {
    let mut bench = Bench::with(3);
    bench.submit(1, &[1, 2, 3]);
    for (n, sequence) in [(1, 11), (2, 22), (3, 33)] {
        bench.players.get_mut(&name(n)).expect("joined").sequence = sequence;
    }
    bench.vote(3, 1, Vote::Yes(payload("c")));
    bench.vote(1, 1, Vote::Yes(payload("a")));
    let record = commit_record(1, 1, &[(1, 11), (2, 22), (3, 33)], &[(1, "a"), (3, "c")]);
    assert_eq!(bench.vote(2, 1, yes()), vec![append(5, record, true)]);
    let reads = vec![
        BranchReads { participant: name(1), reads: payload("a") },
        BranchReads { participant: name(3), reads: payload("c") },
    ];
    assert_eq!(bench.force()[0], told(1, 1, 1, Outcome::Committed(reads)));
}

#[test]
fn several_decisions_of_one_batch_are_told_each_by_itself() {
    let mut bench = Bench::with(2);
    for t in [1, 2] {
        bench.submit(t, &[1, 2]);
        bench.vote(1, t, yes());
        bench.vote(2, t, yes());
    }
    let effects = bench.force();
    let replies: Vec<_> = effects.iter().filter(|effect| matches!(effect, Effect::Reply { .. })).collect();
    assert_eq!(replies, vec![&told(1, 1, 1, committed()), &told(2, 2, 2, committed())]);
}

#[test]
fn f02_nothing_leaves_between_handing_the_record_over_and_its_force() {
    let mut bench = Bench::with(2);
    bench.submit(1, &[1, 2]);
    bench.vote(1, 1, yes());
    bench.vote(2, 1, yes());
    // Whatever comes now: no decision, no other verdict (A2).
    assert_eq!(bench.timer(Timer::Prepare(txn(1))), vec![]);
    assert_eq!(bench.disconnect(1), vec![]);
    assert_eq!(bench.vote(2, 1, no(ReasonKind::Conflict)), vec![]);
    assert_eq!(bench.timer(Timer::Resend(txn(1))), vec![]);
    assert_eq!(bench.timer(Timer::Silence), vec![timer(Timer::Silence, 250, false)]);
    let again = bench.request(1, &[1, 2]);
    assert_eq!(bench.give(Input::TransactionSubmitted { reply: ReplyTo(7), request: again, hash: hash(1) }), vec![]);
    let undecided = Effect::ReplyInquiry { to: ReplyTo(8), answer: InquiryAnswer::Undecided };
    assert_eq!(bench.inquire(2, xid(1), &[1, 2]), vec![undecided]);
    // A batch that ends before it.
    assert_eq!(bench.give(Input::RecordsForced { upto: RecordNumber(3) }), vec![]);
    let effects = bench.force();
    assert_eq!(effects[..2], [told(1, 1, 1, committed()), told(7, 1, 1, committed())]);
}

#[test]
fn f44_a_timeout_at_any_step_gives_exactly_one_verdict() {
    // The timer fires after each of: begin, first vote, last vote, force, acknowledgement.
    for at in 0..5 {
        let mut bench = Bench::with(2);
        let mut all = bench.submit(1, &[1, 2]);
        for step in 0..5 {
            if step == at {
                all.extend(bench.timer(Timer::Prepare(txn(1))));
            }
            all.extend(match step {
                0 => bench.vote(1, 1, yes()),
                1 => bench.vote(2, 1, yes()),
                2 => bench.force(),
                3 => bench.acknowledge(1, xid(1)),
                _ => bench.acknowledge(2, xid(1)),
            });
        }
        let verdicts: Vec<bool> = all
            .iter()
            .filter_map(|effect| match effect {
                Effect::Reply { told: Told::Outcome { outcome, .. }, .. } => {
                    Some(matches!(outcome, Outcome::Committed(_)))
                }
                _ => None,
            })
            .collect();
        assert_eq!(verdicts, vec![at >= 2], "timeout before step {at}");
    }
}

#[test]
fn f46_time_that_jumps_changes_nothing_that_is_decided() {
    let (mut one, mut other) = (Bench::with(2), Bench::with(2));
    other.machine.set_now(u64::MAX);
    assert_eq!(one.submit(1, &[1, 2]), other.submit(1, &[1, 2]));
    other.machine.set_now(0);
    for n in [1, 2] {
        assert_eq!(one.vote(n, 1, yes()), other.vote(n, 1, yes()));
    }
    assert_eq!(one.force(), other.force());
}

#[test]
fn f01_a_decision_that_never_reached_the_log_was_told_to_nobody_and_is_an_abort() {
    let mut bench = Bench::with(2);
    let request = bench.request(1, &[1, 2]);
    bench.submit(1, &[1, 2]);
    bench.vote(1, 1, yes());
    assert_eq!(bench.vote(2, 1, yes()).len(), 1, "the record is handed over, and nothing else");
    // The write fails: the process stops without another word. The next start finds no record.
    bench.restart(false);
    for n in [1, 2] {
        bench.connect(n);
        bench.welcome(n);
    }
    let abort = Effect::ReplyInquiry { to: ReplyTo(8), answer: InquiryAnswer::Decided(Decision::Abort) };
    assert_eq!(bench.inquire(1, xid(1), &[1, 2]), vec![abort]);
    let question = AskOutcome { key: key(1), ticket: Some(request.ticket), participants: vec![name(1), name(2)] };
    let effects = bench.ask(question);
    assert!(matches!(effects[..], [Effect::Reply { told: Told::Outcome { outcome: Outcome::Aborted(_), .. }, .. }]));
}

#[test]
fn f04_a_decision_that_reached_the_disk_unreported_is_a_commit() {
    let mut bench = Bench::with(2);
    bench.submit(1, &[1, 2]);
    bench.vote(1, 1, yes());
    bench.vote(2, 1, yes());
    // Nobody was told, but the record is there when the log is read again.
    bench.restart(true);
    let commit = Effect::ReplyInquiry { to: ReplyTo(8), answer: InquiryAnswer::Decided(Decision::Commit) };
    assert_eq!(bench.inquire(1, xid(1), &[1, 2]), vec![commit]);
}
