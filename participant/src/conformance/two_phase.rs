//! Prepare, commit, abort, read-only: in order, twice, late, and with kills in between.

use handfast_common::outcome::Vote;

use super::bench::{Bench, answered, record, waits, work, xid};
use super::{Checked, Subject, Verdict};
use crate::protocol::Prepared;
use crate::resource::{ParticipantLog, ResourceManager};

/// Yes, kill: the branch is in doubt, and can still be committed (A3).
pub(super) async fn yes_is_on_disk<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    bench
        .life(async |life| {
            life.in_doubt("on an empty disk", &[])?;
            life.yes(1, life.add(&[("a", 5)])).await
        })
        .await?;
    bench
        .life(async |life| {
            life.in_doubt("after a kill", &[1])?;
            life.commit(1).await?;
            life.holds("committed", &[("a", 5)])
        })
        .await?;
    Ok(Verdict::Holds)
}

/// Yes, look; kill, look: nothing is seen before the decision (A6).
pub(super) async fn undecided_is_invisible<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    bench
        .life(async |life| {
            life.yes(1, life.add(&[("a", 5), ("b", 5)])).await?;
            life.holds("undecided", &[("a", 0), ("b", 0)])
        })
        .await?;
    bench.life(async |life| life.holds("undecided after a kill", &[("a", 0), ("b", 0)])).await?;
    Ok(Verdict::Holds)
}

/// Commit answered, kill: effect and marker are there. The coordinator has forgotten it by then.
pub(super) async fn commit_is_on_disk_when_it_is_answered<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    bench
        .life(async |life| {
            life.yes(1, life.add(&[("a", 5)])).await?;
            life.commit(1).await
        })
        .await?;
    bench
        .life(async |life| {
            life.holds("committed, after a kill", &[("a", 5)])?;
            life.in_doubt("committed, after a kill", &[])?;
            life.marked("committed, after a kill", &[1])
        })
        .await?;
    Ok(Verdict::Holds)
}

/// The acknowledgement is lost, Commit comes again, also after a kill: the effect is there once (A5).
pub(super) async fn commit_twice_applies_once<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    bench
        .life(async |life| {
            life.yes(1, life.add(&[("a", 5)])).await?;
            life.commit(1).await?;
            life.commit(1).await?;
            life.holds("committed twice", &[("a", 5)])
        })
        .await?;
    bench
        .life(async |life| {
            life.commit(1).await?;
            life.holds("committed again after a kill", &[("a", 5)])
        })
        .await?;
    Ok(Verdict::Holds)
}

/// A store that was emptied, or went back in time, says so: acknowledged, half of a transaction would be gone (t06).
pub(super) async fn commit_of_an_unknown_branch_is_lost<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    bench
        .life(async |life| {
            life.lost(1).await?;
            life.no(2, Some(life.subject.refused())).await?;
            life.lost(2).await?;
            life.yes(3, life.add(&[("a", 5)])).await?;
            life.abort(3).await?;
            life.lost(3).await
        })
        .await?;
    bench.life(async |life| life.lost(3).await).await?;
    Ok(Verdict::Holds)
}

/// Yes, Abort, kill: it does not come back, nor what it held.
pub(super) async fn abort_undoes_for_good<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    bench
        .life(async |life| {
            life.yes(1, life.add(&[("a", 5)])).await?;
            life.abort(1).await?;
            life.holds("aborted", &[("a", 0)])?;
            // What it held is free.
            life.yes(2, life.add(&[("a", 1)])).await?;
            life.yes(3, life.add(&[("b", 1)])).await
        })
        .await?;
    bench
        .life(async |life| {
            life.in_doubt("after a kill", &[2, 3])?;
            life.abort(3).await
        })
        .await?;
    bench
        .life(async |life| {
            life.in_doubt("aborted after a kill, and killed", &[2])?;
            life.holds("aborted", &[("a", 0), ("b", 0)])
        })
        .await?;
    Ok(Verdict::Holds)
}

/// Abort twice, Abort of what never came: no effect, success (f23).
pub(super) async fn abort_twice_is_no_error<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    bench
        .life(async |life| {
            life.abort(1).await?;
            life.yes(2, life.add(&[("a", 5)])).await?;
            life.abort(2).await?;
            life.abort(2).await?;
            life.holds("aborted twice", &[("a", 0)])
        })
        .await?;
    bench.life(async |life| life.abort(2).await).await?;
    Ok(Verdict::Holds)
}

/// The Abort is faster than its Prepare: that one is refused, also after a kill, also the second time (f22, f24).
pub(super) async fn late_prepare_after_abort_is_refused<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    if !bench.subject.remembers_aborts() {
        return Ok(Verdict::NotAsked);
    }
    bench
        .life(async |life| {
            life.abort(1).await?;
            life.no(1, Some(life.add(&[("a", 5)]))).await?;
            life.yes(2, life.add(&[("b", 5)])).await?;
            life.abort(2).await?;
            life.no(2, Some(life.add(&[("b", 5)]))).await
        })
        .await?;
    bench
        .life(async |life| {
            for n in [1, 2, 1] {
                life.no(n, Some(life.add(&[("c", 5)]))).await?;
            }
            life.in_doubt("after aborts", &[])?;
            life.holds("aborted", &[("a", 0), ("b", 0), ("c", 0)])
        })
        .await?;
    Ok(Verdict::Holds)
}

/// A copy of Prepare that comes after the Commit does not run again (f26, t05).
pub(super) async fn late_prepare_after_commit_is_refused<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    bench
        .life(async |life| {
            life.yes(1, life.add(&[("a", 5)])).await?;
            life.commit(1).await?;
            life.no(1, Some(life.add(&[("a", 5)]))).await
        })
        .await?;
    bench.life(async |life| life.no(1, Some(life.add(&[("a", 5)]))).await).await?;
    bench
        .life(async |life| {
            life.in_doubt("after a late copy", &[])?;
            life.holds("after a late copy", &[("a", 5)])
        })
        .await?;
    Ok(Verdict::Holds)
}

/// The vote is lost, Prepare comes again: the same vote, what was read included, and no work done twice.
pub(super) async fn repeated_prepare_gets_the_same_vote<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    bench
        .life(async |life| {
            let first = life.yes(1, life.add(&[("a", 5)])).await?;
            let second = life.yes(1, life.add(&[("a", 5)])).await?;
            if first != second {
                return Err(format!("the same Prepare read {first:?}, then {second:?}"));
            }
            life.commit(1).await?;
            life.holds("prepared twice, committed", &[("a", 5)])
        })
        .await?;
    Ok(Verdict::Holds)
}

/// A repeated Prepare after a restart gets what was read from the record.
pub(super) async fn what_was_read_stands_in_the_record<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    let reads = bench.life(async |life| life.yes(1, life.add(&[("a", 5)])).await).await?;
    bench
        .life(async |life| {
            let recovered = life.store.recovered();
            let found = recovered.prepared.first().ok_or("nothing is in doubt after a kill")?;
            let wanted = Prepared { reads, ..record(1) };
            if *found == wanted { Ok(()) } else { Err(format!("the record is {found:?}, not {wanted:?}")) }
        })
        .await?;
    Ok(Verdict::Holds)
}

/// No: nothing is in doubt, and nothing is held.
pub(super) async fn no_leaves_nothing<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    bench
        .life(async |life| {
            life.no(1, Some(life.subject.refused())).await?;
            life.yes(2, life.add(&[("a", 1), ("b", 1)])).await?;
            // It may have taken one key before it is refused for the other.
            life.kept_out_if_isolated(3, &[("c", 1), ("a", 1)]).await?;
            life.yes(4, life.add(&[("c", 1)])).await
        })
        .await?;
    bench.life(async |life| life.in_doubt("after two No", &[2, 4])).await?;
    Ok(Verdict::Holds)
}

/// Two branches want one key: the second one gets no Yes before the first is decided, and one after (A7).
pub(super) async fn locks_are_held_until_the_decision<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    if !bench.subject.isolates() {
        return Ok(Verdict::NotAsked);
    }
    bench
        .life(async |life| {
            life.yes(1, life.add(&[("a", 5)])).await?;
            life.kept_out(2, life.add(&[("a", 1)])).await?;
            life.commit(1).await?;
            life.yes(3, life.add(&[("a", 1)])).await?;
            life.kept_out(4, life.add(&[("a", 1)])).await?;
            life.abort(3).await?;
            life.yes(5, life.add(&[("a", 1)])).await
        })
        .await?;
    Ok(Verdict::Holds)
}

/// The same with a kill after the first Yes (A8).
pub(super) async fn locks_are_held_again_after_a_restart<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    if !bench.subject.isolates() {
        return Ok(Verdict::NotAsked);
    }
    bench.life(async |life| life.yes(1, life.add(&[("a", 5)])).await).await?;
    bench
        .life(async |life| {
            life.kept_out(2, life.add(&[("a", 1)])).await?;
            life.commit(1).await?;
            life.yes(3, life.add(&[("a", 1)])).await?;
            life.holds("only the first is decided", &[("a", 5)])
        })
        .await?;
    Ok(Verdict::Holds)
}

/// Work that waits is told to end: it answers No, and what it waited for is given to it by nobody later.
pub(super) async fn cancel_ends_what_waits<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    if !bench.subject.isolates() {
        return Ok(Verdict::NotAsked);
    }
    bench
        .life(async |life| {
            life.yes(2, life.add(&[("a", 5)])).await?;
            // Older: it may wait. One that is refused at once has nothing to cancel.
            let older = life.store.prepare(work(1, Some(life.add(&[("a", 1)]))), record(1));
            let mut older = Box::pin(older);
            let vote = match waits(&mut older).await {
                Some(vote) => vote,
                None => {
                    life.cancel(1);
                    answered("a prepare that was cancelled", older).await?
                }
            };
            if !matches!(vote, Vote::No(_)) {
                return Err(format!("cancelled, it voted {vote:?}"));
            }
            life.commit(2).await?;
            life.yes(3, life.add(&[("a", 1)])).await
        })
        .await?;
    bench.life(async |life| life.in_doubt("cancelled, and killed", &[3])).await?;
    Ok(Verdict::Holds)
}

/// A cancel that comes after the vote changes nothing (A3, f45).
pub(super) async fn cancel_leaves_what_is_prepared<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    bench
        .life(async |life| {
            life.yes(1, life.add(&[("a", 5)])).await?;
            life.cancel(1);
            life.cancel(9);
            life.commit(1).await?;
            life.holds("cancelled after Yes, committed", &[("a", 5)])
        })
        .await?;
    Ok(Verdict::Holds)
}

/// A branch that only read keeps others from writing until it is released, and leaves no record (t01).
pub(super) async fn read_only_holds_until_released<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    let Some(read) = bench.subject.read("a") else { return Ok(Verdict::NotAsked) };
    let isolates = bench.subject.isolates();
    bench
        .life(async |life| {
            let Vote::ReadOnly(first) = life.prepare(1, Some(read.clone())).await? else {
                return Err("work that only reads did not vote ReadOnly".to_owned());
            };
            let again = life.prepare(1, Some(read.clone())).await?;
            if again != Vote::ReadOnly(first) {
                return Err(format!("the same Prepare voted otherwise: {again:?}"));
            }
            if isolates {
                life.kept_out(2, life.add(&[("a", 5)])).await?;
            }
            life.store.release(xid(1));
            life.store.release(xid(1));
            life.yes(3, life.add(&[("a", 5)])).await?;
            // An Abort that comes later than the Release.
            life.abort(1).await
        })
        .await?;
    bench.life(async |life| life.in_doubt("one only read", &[3])).await?;
    Ok(Verdict::Holds)
}
