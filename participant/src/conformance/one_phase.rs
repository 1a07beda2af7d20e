//! Commits of one branch: the participant decides, and answers for it.

use handfast_common::messages::OnePhaseResult;

use super::bench::{Bench, HASH, key, xid};
use super::{Checked, Subject, Verdict};
use crate::protocol::{Done, OnePhaseDone};
use crate::resource::ParticipantLog;

/// Answered, kill: the effect is there, and a marker with key, hash and reads that answers for the key (t04c).
pub(super) async fn one_phase_is_on_disk_with_its_marker<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    let reads = bench
        .life(async |life| {
            let reads = life.done(1, Some(life.add(&[("a", 5)]))).await?;
            life.holds("committed", &[("a", 5)])?;
            Ok(reads)
        })
        .await?;
    bench
        .life(async |life| {
            life.holds("committed, after a kill", &[("a", 5)])?;
            let wanted = Done { xid: xid(1), one_phase: Some(OnePhaseDone { key: key(1), hash: HASH, reads }) };
            let found = life.store.recovered().done;
            if found == [wanted.clone()] { Ok(()) } else { Err(format!("the marker is {found:?}, not {wanted:?}")) }
        })
        .await?;
    Ok(Verdict::Holds)
}

/// The answer is lost, the order comes again, also after a kill: done once, answered with what was done (t04).
pub(super) async fn one_phase_twice_applies_once<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    let first = bench
        .life(async |life| {
            let first = life.done(1, Some(life.add(&[("a", 5)]))).await?;
            let second = life.done(1, Some(life.add(&[("a", 5)]))).await?;
            if first != second {
                return Err(format!("the same order read {first:?}, then {second:?}"));
            }
            life.holds("ordered twice", &[("a", 5)])?;
            Ok(first)
        })
        .await?;
    bench
        .life(async |life| {
            let third = life.done(1, Some(life.add(&[("a", 5)]))).await?;
            if first != third {
                return Err(format!("the same order read {first:?}, and {third:?} after a kill"));
            }
            life.holds("ordered again after a kill", &[("a", 5)])
        })
        .await?;
    Ok(Verdict::Holds)
}

/// Refused: no marker, no effect, nothing held.
pub(super) async fn one_phase_refused_leaves_nothing<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    bench
        .life(async |life| {
            match life.one_phase(1, Some(life.subject.refused())).await? {
                OnePhaseResult::Aborted(_) => {}
                other => return Err(format!("refused work ended as {other:?}")),
            }
            life.done(2, Some(life.add(&[("a", 5)]))).await
        })
        .await?;
    bench
        .life(async |life| {
            life.marked("one was refused", &[2])?;
            life.holds("one was refused", &[("a", 5)])
        })
        .await?;
    Ok(Verdict::Holds)
}

/// Nothing was changed: nothing has to be remembered, and nothing is held.
pub(super) async fn one_phase_that_only_reads_leaves_no_marker<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    let Some(read) = bench.subject.read("a") else { return Ok(Verdict::NotAsked) };
    bench
        .life(async |life| {
            life.done(1, Some(read)).await?;
            life.done(2, Some(life.add(&[("a", 5)]))).await
        })
        .await?;
    bench.life(async |life| life.marked("one only read", &[2])).await?;
    Ok(Verdict::Holds)
}
