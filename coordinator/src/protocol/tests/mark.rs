//! What participants may forget (t14), and what they may not.

use handfast_common::limits::MAX_MARK_EXCEPTIONS;

use super::*;

#[test]
fn the_mark_stands_at_the_first_transaction_that_has_not_ended() {
    let mut bench = Bench::with(2);
    assert_eq!(bench.machine.mark().low, beyond(1));
    for k in 1..=3 {
        bench.submit(k, &[1, 2]);
    }
    assert_eq!(bench.machine.mark().low, txn(1));
    bench.timer(Timer::Prepare(txn(1)));
    assert_eq!(bench.machine.mark().low, txn(2));
    for n in [1, 2] {
        bench.vote(n, 2, yes());
    }
    bench.force();
    bench.acknowledge(1, xid(2));
    assert_eq!(bench.machine.mark().low, txn(2));
    bench.acknowledge(2, xid(2));
    assert_eq!(bench.machine.mark().low, txn(3));
}

#[test]
fn t14_one_participant_that_is_away_does_not_pin_it() {
    let mut bench = Bench::with(3);
    bench.submit(1, &[1, 2]);
    bench.vote(1, 1, yes());
    bench.vote(2, 1, yes());
    bench.force();
    bench.acknowledge(1, xid(1));
    bench.disconnect(2);
    for _ in 0..2 {
        bench.timer(Timer::Resend(txn(1)));
    }
    bench.run(2, &[1, 3]);
    assert_eq!(bench.machine.mark(), Mark { low: txn(1), except: vec![] });
    bench.timer(Timer::Resend(txn(1)));
    assert_eq!(bench.machine.mark(), Mark { low: beyond(3), except: vec![txn(1)] });
    bench.connect(2);
    bench.welcome(2);
    bench.acknowledge(2, xid(1));
    assert_eq!(bench.machine.mark(), Mark { low: beyond(3), except: vec![] });
}

#[test]
fn it_steps_over_so_many_and_no_more() {
    let mut bench = Bench::with(2);
    let stuck = MAX_MARK_EXCEPTIONS as u64 + 1;
    for k in 1..=stuck {
        bench.submit(k, &[1, 2]);
        bench.vote(1, k, yes());
        bench.vote(2, k, yes());
    }
    bench.force();
    for k in 1..=stuck {
        for _ in 0..3 {
            bench.timer(Timer::Resend(txn(k)));
        }
    }
    let mark = bench.machine.mark();
    assert_eq!(mark.except.len(), MAX_MARK_EXCEPTIONS);
    assert_eq!(mark.low, txn(stuck));
}

#[test]
fn what_is_undecided_is_never_stepped_over() {
    let mut bench = Bench::with(2);
    bench.submit(1, &[1, 2]);
    bench.submit(2, &[1, 2]);
    for n in [1, 2] {
        bench.vote(n, 1, yes());
    }
    for _ in 0..9 {
        bench.timer(Timer::Resend(txn(1)));
        bench.timer(Timer::Resend(txn(2)));
    }
    assert_eq!(bench.machine.mark(), Mark { low: txn(1), except: vec![] });
}

#[test]
fn t14_after_a_restart_only_what_the_log_says_commit_to_is_below() {
    let mut bench = Bench::with(2);
    for k in 1..=3 {
        bench.submit(k, &[1, 2]);
    }
    for n in [1, 2] {
        bench.vote(n, 2, yes());
    }
    bench.force();
    bench.restart(false);
    assert_eq!(bench.machine.mark(), Mark { low: txn(2), except: vec![] });
    for n in [1, 2] {
        bench.connect(n);
        bench.welcome(n);
        bench.acknowledge(n, xid(2));
    }
    assert_eq!(bench.machine.mark().low, TxnId::new(LOG, Epoch(2), 1, Nonce(0)));
}
