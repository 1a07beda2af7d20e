//! What the protocol keeps beside the branches: lines of coordinators, markers, the sequence, starts.

use handfast_common::ids::Incarnation;
use handfast_common::messages::KnownStart;

use super::bench::{Bench, LOG, OTHER_LOG, line};
use super::{Checked, Subject, Verdict};
use crate::protocol::Line;
use crate::resource::ParticipantLog;

/// The identity is drawn once: a store that changes it is refused as another one.
pub(super) async fn identity_stays<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(bench.life(async |life| Ok(life.store.identity())).await?);
    }
    if seen[0] == seen[1] && seen[1] == seen[2] {
        Ok(Verdict::Holds)
    } else {
        Err(format!("starts of one store called themselves {seen:?}"))
    }
}

/// A Hello was answered, kill: the epoch is known. Otherwise work of the older one would run (t12b).
pub(super) async fn lines_are_on_disk_when_forced<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    bench
        .life(async |life| {
            life.force(line(LOG, 1, &[])).await?;
            life.force(line(LOG, 2, &[1])).await?;
            life.force(line(OTHER_LOG, 9, &[])).await
        })
        .await?;
    let wanted = [line(LOG, 2, &[1]), line(OTHER_LOG, 9, &[])];
    bench.life(async |life| same(life.store.recovered().lines, &wanted)).await?;
    Ok(Verdict::Holds)
}

/// Noted, then another line forced, kill: the noted one is there too, for it was handed over before.
pub(super) async fn force_covers_what_was_noted_before<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    bench
        .life(async |life| {
            life.store.note(line(LOG, 3, &[]));
            life.force(line(OTHER_LOG, 9, &[])).await
        })
        .await?;
    let wanted = [line(LOG, 3, &[]), line(OTHER_LOG, 9, &[])];
    bench.life(async |life| same(life.store.recovered().lines, &wanted)).await?;
    Ok(Verdict::Holds)
}

fn same(mut found: Vec<Line>, wanted: &[Line]) -> Result<(), String> {
    found.sort_by_key(|line| line.log);
    if found == wanted { Ok(()) } else { Err(format!("the lines are {found:?}, not {wanted:?}")) }
}

/// The sequence grows with every promise, is never higher than what is on disk, and does not grow with starts: an old
/// copy could start its way past the guard (t06).
pub(super) async fn sequence_counts_branches_and_never_falls<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    let told = bench
        .life(async |life| {
            let mut last = life.store.sequence();
            for n in 1..4 {
                life.yes(n, life.add(&[(&format!("k{n}"), 1)])).await?;
                let now = life.store.sequence();
                if now <= last {
                    return Err(format!("it was {last} before a Yes, and is {now} with it"));
                }
                last = now;
            }
            Ok(last)
        })
        .await?;
    let first = bench.life(async |life| Ok(life.store.sequence())).await?;
    if first < told {
        return Err(format!("it was told as {told}, and is {first} after a kill"));
    }
    for _ in 0..3 {
        let again =
            bench.life(async |life| life.force(line(LOG, 0, &[])).await.map(|()| life.store.sequence())).await?;
        if again != first {
            return Err(format!("nothing but starts and Hellos, and it went from {first} to {again}"));
        }
    }
    Ok(Verdict::Holds)
}

/// A marker that goes before the mark has passed lets a late Commit find nothing, and a key be done twice (t04c).
pub(super) async fn markers_stay_until_the_mark_covers_them<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    bench
        .life(async |life| {
            for n in [1, 2] {
                life.yes(n, life.add(&[(&format!("k{n}"), 1)])).await?;
                life.commit(n).await?;
            }
            for n in [3, 4] {
                life.done(n, Some(life.add(&[(&format!("k{n}"), 1)]))).await?;
            }
            // 1 and 3 are exceptions; 4 is not below it.
            life.force(line(LOG, 4, &[1, 3])).await?;
            life.force(line(OTHER_LOG, 9, &[])).await
        })
        .await?;
    bench
        .life(async |life| {
            let found = life.markers();
            match [1, 3, 4].into_iter().find(|n| !found.contains(n)) {
                Some(gone) => Err(format!("the marker of {gone} is gone before the mark covers it")),
                None => life.commit(1).await,
            }
        })
        .await?;
    Ok(Verdict::Holds)
}

/// Those that the mark covers go, in the write that stores it: the store would grow for ever (f11).
pub(super) async fn markers_go_with_the_mark<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    bench
        .life(async |life| {
            life.yes(1, life.add(&[("a", 1)])).await?;
            life.commit(1).await?;
            for n in [2, 3] {
                life.done(n, Some(life.add(&[(&format!("k{n}"), 1)]))).await?;
            }
            life.store.note(line(LOG, 2, &[]));
            life.force(line(LOG, 3, &[])).await
        })
        .await?;
    bench
        .life(async |life| {
            life.marked("with a mark above two of three", &[3])?;
            life.holds("trimmed", &[("a", 1), ("k2", 1), ("k3", 1)])
        })
        .await?;
    Ok(Verdict::Holds)
}

/// The mark passes a branch in doubt, kill: it is still in doubt, and only a decision ends it (t14).
pub(super) async fn mark_never_ends_a_prepared_branch<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    bench
        .life(async |life| {
            for n in [1, 2] {
                life.yes(n, life.add(&[(&format!("k{n}"), 1)])).await?;
            }
            life.force(line(LOG, 9, &[])).await
        })
        .await?;
    bench
        .life(async |life| {
            life.in_doubt("below the mark", &[1, 2])?;
            life.commit(1).await?;
            life.abort(2).await?;
            life.holds("decided below the mark", &[("k1", 1), ("k2", 0)])
        })
        .await?;
    bench.life(async |life| life.in_doubt("decided below the mark, and killed", &[])).await?;
    Ok(Verdict::Holds)
}

/// Every start is forced before anybody is answered, and earlier ones are told with the sequence that they came to: a copy
/// of the store does not know of those that it missed.
pub(super) async fn starts_are_remembered<S: Subject>(bench: &mut Bench<'_, S>) -> Checked {
    let mut wanted: Vec<KnownStart> = Vec::new();
    for start in 1..=4 {
        let sequence = bench
            .life(async |life| {
                let found = life.store.recovered().starts;
                if found != wanted {
                    return Err(format!("start {start} finds {found:?}, not {wanted:?}"));
                }
                if start % 2 == 1 {
                    life.yes(start, life.add(&[(&format!("k{start}"), 1)])).await?;
                }
                Ok(life.store.sequence())
            })
            .await?;
        wanted.push(KnownStart { incarnation: Incarnation(start), sequence });
    }
    Ok(Verdict::Holds)
}
