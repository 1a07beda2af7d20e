//! The model checker.

mod actions;
mod fingerprint;
mod ledger;
mod properties;
mod run;
mod setup;
mod state;
mod store;

use setup::{Setup, Wish};
use stateright::{Checker, Model};

const W: Wish = Wish::Write;
const D: Wish = Wish::Doubtful;
const R: Wish = Wish::Read;

fn explore(setup: Setup) -> usize {
    let begun = std::time::Instant::now();
    let checker = setup.checker().threads(2).spawn_bfs().join();
    println!("{setup:?}: {} unique, {} generated, depth {}, {:?}", checker.unique_state_count(), checker.state_count(), checker.max_depth(), begun.elapsed());
    checker.assert_properties();
    checker.unique_state_count()
}

#[test]
fn a_two() {
    explore(Setup::of(&[&[(0, W), (1, D), (2, R)]]).going_wrong(2, 0, 0, 0));
}
#[test]
fn a_two_w() {
    explore(Setup::of(&[&[(0, W), (1, W), (2, W)]]).going_wrong(2, 0, 0, 0));
}
#[test]
fn b_loss() {
    explore(Setup::of(&[&[(0, W), (1, D), (2, R)]]).going_wrong(1, 1, 1, 0));
}
#[test]
fn b_loss_slow() {
    explore(Setup { slow_answers: true, ..Setup::of(&[&[(0, W), (1, D), (2, R)]]).going_wrong(0, 1, 1, 0) });
}
#[test]
fn c_one() {
    explore(Setup { slow_answers: true, ..Setup::of(&[&[(0, D)]]).going_wrong(2, 1, 1, 1) });
}
#[test]
fn d_two_txn() {
    explore(Setup { ..Setup::of(&[&[(0, D)], &[(0, W), (1, W)]]).going_wrong(1, 0, 0, 0) });
}
#[test]
fn e_2c1d() {
    explore(Setup::of(&[&[(0, W), (1, D), (2, R)]]).going_wrong(2, 0, 1, 0));
}
#[test]
fn z_parts() {
    use std::collections::{BTreeMap, HashMap, HashSet};
    let setup = Setup::of(&[&[(0, W), (1, D), (2, R)]]).going_wrong(1, 0, 0, 0);
    let mut seen: HashSet<u64> = HashSet::new();
    let mut todo = setup.init_states();
    let mut parts: [HashMap<u64, String>; 5] = Default::default();
    while let Some(state) = todo.pop() {
        if !seen.insert(fingerprint::fingerprint(&state)) { continue; }
        parts[0].entry(state.coordinator.fingerprint()).or_insert_with(|| format!("{:?}", *state.coordinator));
        for n in 0..3 { parts[1 + n].entry(state.participants[n].fingerprint()).or_insert_with(|| format!("{:?}", *state.participants[n])); }
        parts[4].entry(fingerprint::fingerprint(&state.ledger)).or_insert_with(|| format!("{:?}", state.ledger));
        let mut actions = Vec::new();
        setup.actions(&state, &mut actions);
        todo.extend(actions.into_iter().filter_map(|a| setup.next_state(&state, a)));
    }
    println!("{} states", seen.len());
    for (i, p) in parts.iter().enumerate() {
        println!("part {i}: {}", p.len());
        let all: BTreeMap<_, _> = p.iter().collect();
        std::fs::write(format!("/tmp/mc/part{i}.txt"), all.values().map(|s| s.as_str()).collect::<Vec<_>>().join("\n")).unwrap();
    }
}
