//! A kill between any two writes: what was promised by then holds, and no branch is there by halves.

use super::bench::{Bench, Life};
use super::{Checked, Subject, Verdict};
use crate::resource::ParticipantLog;

/// After how many states of the disk what was promised.
#[derive(Clone, Copy, Default)]
struct Promised {
    /// 1 is in doubt, then done.
    yes: usize,
    done: usize,
    /// 2 is in doubt, then gone.
    yes_of_aborted: usize,
    aborted: usize,
    /// 3 is done in one phase.
    one_phase: usize,
    /// 4 is in doubt.
    last_yes: usize,
}

/// Runs a few branches, and then starts from each state that a kill could have left of them.
pub(super) async fn every_promise_holds_at_every_moment<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    if bench.subject.moments() == 0 {
        return Ok(Verdict::NotAsked);
    }
    let begun = bench.life(async |life| Ok(life.subject.moments())).await?;
    let promised = bench.life(run).await?;
    let moments = bench.subject.moments();
    if moments <= begun {
        return Err("nothing was written".to_owned());
    }
    for moment in begun..=moments {
        bench.subject.stop_at(moment);
        let looked = bench.life(async |life| look(life, moment, promised).await).await;
        looked.map_err(|why| format!("killed after write {moment} of {moments}: {why}"))?;
    }
    Ok(Verdict::Holds)
}

async fn run<S: Subject>(life: &Life<'_, S>) -> Result<Promised, String> {
    let mut promised = Promised::default();
    life.yes(1, life.add(&[("a", 1), ("b", 1)])).await?;
    promised.yes = life.subject.moments();
    life.commit(1).await?;
    promised.done = life.subject.moments();
    life.yes(2, life.add(&[("c", 1), ("d", 1)])).await?;
    promised.yes_of_aborted = life.subject.moments();
    life.abort(2).await?;
    promised.aborted = life.subject.moments();
    life.done(3, Some(life.add(&[("e", 1), ("f", 1)]))).await?;
    promised.one_phase = life.subject.moments();
    life.yes(4, life.add(&[("g", 1), ("h", 1)])).await?;
    promised.last_yes = life.subject.moments();
    Ok(promised)
}

async fn look<S: Subject>(life: &Life<'_, S>, moment: usize, promised: Promised) -> Result<(), String> {
    let recovered = life.store.recovered();
    let in_doubt: Vec<u64> = recovered.prepared.iter().map(|record| record.xid.txn.sequence()).collect();
    let markers = life.markers();
    let mut effects = Vec::new();
    for (n, [one, other]) in [(1, ["a", "b"]), (2, ["c", "d"]), (3, ["e", "f"]), (4, ["g", "h"])] {
        let [one, other] = [one, other].map(|key| life.subject.value(life.store, key));
        if one != other || !(0..=1).contains(&one) {
            return Err(format!("half of branch {n}, or more than one of it: {one} and {other}"));
        }
        if in_doubt.contains(&n) && markers.contains(&n) {
            return Err(format!("branch {n} is in doubt and done"));
        }
        effects.push((n, one == 1));
    }
    for (n, effect) in effects {
        let (doubt, done) = (in_doubt.contains(&n), markers.contains(&n));
        // Its Commit may have been on the way, and between effect and marker lies a write where they are not one.
        let committing = n == 1 && moment >= promised.yes;
        if (effect && !done && !(doubt && committing)) || (done && !effect) {
            return Err(format!("branch {n}: effect {effect}, marker {done}, in doubt {doubt}"));
        }
    }
    let broken = |what: &str| Err(format!("{what}; in doubt {in_doubt:?}, done {markers:?}"));
    let doubt_or_done = in_doubt.contains(&1) || markers.contains(&1);
    if moment >= promised.yes && !doubt_or_done {
        return broken("the Yes of 1 is forgotten");
    }
    if moment >= promised.done && !markers.contains(&1) {
        return broken("the Commit of 1 is forgotten");
    }
    if moment == promised.yes_of_aborted && !in_doubt.contains(&2) {
        return broken("the Yes of 2 is forgotten");
    }
    if moment >= promised.aborted && in_doubt.contains(&2) {
        return broken("the Abort of 2 is forgotten");
    }
    if moment >= promised.one_phase && !markers.contains(&3) {
        return broken("the one-phase commit of 3 is forgotten");
    }
    if moment >= promised.last_yes && !in_doubt.contains(&4) {
        return broken("the Yes of 4 is forgotten");
    }
    finish(life, &in_doubt).await
}

/// What is in doubt can be decided.
async fn finish<S: Subject>(life: &Life<'_, S>, in_doubt: &[u64]) -> Result<(), String> {
    for n in in_doubt {
        let [one, other] = [["a", "b"], ["c", "d"], ["e", "f"], ["g", "h"]][*n as usize - 1];
        let wanted = if *n == 2 {
            life.abort(*n).await?;
            0
        } else {
            life.commit(*n).await?;
            1
        };
        life.holds("decided after a kill", &[(one, wanted), (other, wanted)])?;
    }
    Ok(())
}
