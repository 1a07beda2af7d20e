//! Operations that run before Prepare.

use handfast_common::messages::OnePhaseResult;
use handfast_common::outcome::Vote;

use super::bench::{Bench, answered, waits, work, xid};
use super::{Checked, Subject, Verdict};
use crate::protocol::Execution;
use crate::resource::ResourceManager;

/// A branch reads its own writes, and nobody sees them before the decision (A6).
pub(super) async fn operations_see_what_the_branch_wrote_and_nobody_else_does<S: Subject>(
    bench: &mut Bench<'_, S>,
) -> Checked {
    let Some(read) = bench.subject.read("a").filter(|_| bench.subject.reads_own_writes()) else {
        return Ok(Verdict::NotAsked);
    };
    bench
        .life(async |life| {
            let before = life.executed(1, read.clone()).await?;
            life.executed(1, life.add(&[("a", 5)])).await?;
            let within = life.executed(1, read.clone()).await?;
            if before == within {
                return Err(format!("a branch wrote and reads {within:?}, as before"));
            }
            life.holds("open", &[("a", 0)])?;
            if !matches!(life.prepare(1, None).await?, Vote::Yes(_)) {
                return Err("an open branch with work did not vote Yes".to_owned());
            }
            life.holds("undecided", &[("a", 0)])?;
            life.commit(1).await?;
            let after = life.executed(2, read).await?;
            if after == within { Ok(()) } else { Err(format!("{within:?} was read within, and {after:?} after")) }
        })
        .await?;
    Ok(Verdict::Holds)
}

/// Several operations, Prepare, kill, Commit: all of them took effect.
pub(super) async fn operations_are_prepared_together<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    bench
        .life(async |life| {
            for changes in [[("a", 5)], [("b", 7)], [("a", 1)]] {
                life.executed(1, life.add(&changes)).await?;
            }
            match life.prepare(1, None).await? {
                Vote::Yes(_) => Ok(()),
                other => Err(format!("three operations, and the vote is {other:?}")),
            }
        })
        .await?;
    bench
        .life(async |life| {
            life.in_doubt("after a kill", &[1])?;
            life.commit(1).await?;
            life.holds("committed", &[("a", 6), ("b", 7)])
        })
        .await?;
    Ok(Verdict::Holds)
}

/// One operation fails: it did nothing, and the branch goes on with what it had.
pub(super) async fn refused_operation_leaves_the_branch_as_it_was<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    bench
        .life(async |life| {
            life.executed(1, life.add(&[("a", 5)])).await?;
            match life.execute(1, life.subject.refused()).await? {
                Execution::Failed(_) => {}
                other => return Err(format!("refused work ended as {other:?}")),
            }
            life.executed(1, life.add(&[("b", 5)])).await?;
            if !matches!(life.prepare(1, None).await?, Vote::Yes(_)) {
                return Err("a branch with one refused operation did not vote Yes".to_owned());
            }
            life.commit(1).await?;
            life.holds("committed", &[("a", 5), ("b", 5)])
        })
        .await?;
    Ok(Verdict::Holds)
}

/// Operations, kill, Prepare: there is no work any more, so it is No; half of it would be half a transaction (t10a).
pub(super) async fn open_branch_is_gone_after_a_restart<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    bench.life(async |life| life.executed(1, life.add(&[("a", 5)])).await).await?;
    bench
        .life(async |life| {
            life.in_doubt("open before a kill", &[])?;
            life.holds("open before a kill", &[("a", 0)])?;
            life.no(1, None).await?;
            // What it held is free.
            life.yes(2, life.add(&[("a", 1)])).await
        })
        .await?;
    Ok(Verdict::Holds)
}

/// Abort of an open branch: nothing of it stays, and nothing is held.
pub(super) async fn abort_ends_an_open_branch<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    bench
        .life(async |life| {
            life.executed(1, life.add(&[("a", 5)])).await?;
            life.kept_out_if_isolated(2, &[("a", 1)]).await?;
            life.abort(1).await?;
            life.holds("aborted", &[("a", 0)])?;
            life.no(1, None).await?;
            life.yes(3, life.add(&[("a", 1)])).await
        })
        .await?;
    bench.life(async |life| life.in_doubt("one was aborted", &[3])).await?;
    Ok(Verdict::Holds)
}

/// The only branch of its transaction: decided here, with all of its operations.
pub(super) async fn operations_commit_in_one_phase<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    bench
        .life(async |life| {
            for changes in [[("a", 5)], [("b", 7)]] {
                life.executed(1, life.add(&changes)).await?;
            }
            match life.one_phase(1, None).await? {
                OnePhaseResult::Committed(_) => Ok(()),
                OnePhaseResult::Aborted(reason) => Err(format!("two operations, and the commit was refused: {reason}")),
            }
        })
        .await?;
    bench
        .life(async |life| {
            life.marked("after a kill", &[1])?;
            life.holds("after a kill", &[("a", 5), ("b", 7)])
        })
        .await?;
    Ok(Verdict::Holds)
}

/// Nothing was written: ReadOnly, no record, and free once it is released.
pub(super) async fn operations_that_only_read_vote_read_only<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    let Some(read) = bench.subject.read("a") else { return Ok(Verdict::NotAsked) };
    bench
        .life(async |life| {
            life.executed(1, read).await?;
            match life.prepare(1, None).await? {
                Vote::ReadOnly(_) => life.store.release(xid(1)),
                other => return Err(format!("a branch that only read voted {other:?}")),
            }
            life.yes(2, life.add(&[("a", 5)])).await
        })
        .await?;
    bench.life(async |life| life.in_doubt("one only read", &[2])).await?;
    Ok(Verdict::Holds)
}

/// An operation waits, and is told to end: doomed, and its branch holds nothing any more.
pub(super) async fn cancel_dooms_an_operation_that_waits<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    if !bench.subject.isolates() {
        return Ok(Verdict::NotAsked);
    }
    bench
        .life(async |life| {
            life.yes(2, life.add(&[("a", 5)])).await?;
            life.executed(1, life.add(&[("b", 5)])).await?;
            let mut older = Box::pin(life.store.execute(work(1, Some(life.add(&[("a", 1)])))));
            let ended = match waits(&mut older).await {
                Some(ended) => ended,
                None => {
                    life.cancel(1);
                    answered("an operation that was cancelled", older).await?
                }
            };
            if !matches!(ended, Execution::Doomed(_)) {
                return Err(format!("it wanted what another branch holds, and ended as {ended:?}"));
            }
            life.no(1, None).await?;
            life.yes(3, life.add(&[("b", 1)])).await
        })
        .await?;
    Ok(Verdict::Holds)
}
