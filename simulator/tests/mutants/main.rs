//! Test the tests: each rule of the protocol that can be undone is undone, and something notices. The same seeds without
//! it keep every promise.
//!
//! `docs/mutants.md` has the table of who caught whom. Its seeds are tried first; where one no longer does, the next that
//! does is looked for, and the table no longer says what was found: `HANDFAST_WRITE_DOCS=1` writes it anew.
#![cfg(feature = "mutants")]

mod directed;
mod drills;
mod table;
mod ways;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use handfast_common::mutants::{Mutant, with};

use table::Row;
use ways::way;

#[test]
fn every_mutant_is_caught_and_the_table_says_by_whom() {
    let known = table::read();
    let only = std::env::var("HANDFAST_MUTANT").ok();
    let mutants: Vec<Mutant> =
        Mutant::ALL.iter().copied().filter(|mutant| only.as_ref().is_none_or(|only| only == mutant.name())).collect();
    let (next, rows, escaped) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        let hunt = || {
            while let Some(mutant) = mutants.get(next.fetch_add(1, Ordering::Relaxed)) {
                let pinned = known.get(mutant.name()).copied();
                match caught(*mutant, pinned) {
                    Ok(row) => drop(rows.lock().expect("no hunter panics").insert(*mutant, row)),
                    Err(why) => escaped.lock().expect("no hunter panics").push(why),
                }
            }
        };
        (0..2).for_each(|_| drop(scope.spawn(hunt)));
    });
    let rows = rows.into_inner().expect("no hunter panics");
    let escaped = escaped.into_inner().expect("no hunter panics");
    println!("{}", table::render(&rows));
    assert!(escaped.is_empty(), "{}", escaped.join("\n"));
    assert!(mutants.len() >= 25 || only.is_some(), "only {} mutants", mutants.len());
    if only.is_none() {
        table::compare(&rows);
    }
}

/// The first seed in which a mutant breaks the promise that it has to, the pinned one before all others.
fn caught(mutant: Mutant, pinned: Option<u64>) -> Result<Row, String> {
    let (way, promise) = way(mutant);
    let mut others = BTreeSet::new();
    for seed in pinned.into_iter().chain(0..way.seeds()) {
        let Err(caught) = with(mutant, || way.run(seed)) else { continue };
        if caught.oracle != promise {
            others.insert(caught.oracle);
            continue;
        }
        if let Err(alone) = way.run(seed) {
            return Err(format!("{}, seed {seed}, breaks a promise without any mutant: {}", way.label(), alone.what));
        }
        let what: String = caught.what.chars().take(300).collect();
        println!("{}: {}, seed {seed}: {what}", mutant.name(), way.label());
        return Ok(Row { seed, oracle: caught.oracle, how: way.label() });
    }
    Err(format!(
        "{} escapes: {} seeds of {} do not break '{promise}', only {others:?}",
        mutant.name(),
        way.seeds(),
        way.label()
    ))
}
