//! The model checker: every state that one coordinator and three participants can come to, within a budget of crashes, broken
//! connections and copies of messages.
//!
//! The machines are those of production. Around them is as little as possible: a log and stores of which a crash keeps any
//! part that was handed over, connections that lose what is on them, copies of orders that arrive at any time, and timers
//! that run out whenever they like. What is not in it is said in `state.rs` and `setup.rs`, each with its reason.
//!
//! The counts are pinned. A change of the machines changes them, and that is no error: look whether the difference is what
//! the change was meant to do, and write the new number down. A count that falls to a fraction has lost something.

mod actions;
mod fingerprint;
mod ledger;
mod memo;
mod open;
mod properties;
mod run;
mod setup;
mod state;
mod store;

use std::time::Instant;

use setup::{Mutant, Setup, Wish};
use stateright::{Checker, Expectation, HasDiscoveries, Model};

use Wish::{Doubtful, Read, Write};

/// One branch writes, one may have to wait and may fail, one reads.
const MIXED: &[&[(usize, Wish)]] = &[&[(0, Write), (1, Doubtful), (2, Read)]];
/// All branches write.
const WRITING: &[&[(usize, Wish)]] = &[&[(0, Write), (1, Write), (2, Write)]];
/// One branch alone.
const ALONE: &[&[(usize, Wish)]] = &[&[(0, Doubtful)]];
/// One branch alone, and a transaction over two that shares a participant with it.
const BESIDE: &[&[(usize, Wish)]] = &[&[(0, Doubtful)], &[(0, Write), (1, Write)]];

/// Looks at every state; all properties hold, and there are so many states.
fn exhaust(setup: Setup, states: usize) {
    let begun = Instant::now();
    let checker = setup.checker().threads(2).spawn_bfs().join();
    let (unique, generated) = (checker.unique_state_count(), checker.state_count());
    println!("{:?}: {unique} states, {generated} steps, {:.1?}", setup.budget, begun.elapsed());
    checker.assert_properties();
    assert_eq!(unique, states, "the number of states has changed");
}

/// Looks until a property is violated: which ones are.
fn violated(setup: Setup) -> Vec<&'static str> {
    let checker = setup.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let found = checker.discoveries();
    let always = setup.properties().into_iter().filter(|property| property.expectation == Expectation::Always);
    always.map(|property| property.name).filter(|name| found.contains_key(name)).collect()
}

#[test]
fn nothing_goes_wrong() {
    exhaust(Setup::of(MIXED), 3_610);
    exhaust(Setup::of(WRITING), 7_695);
}

#[test]
fn exhausted_two_crashes() {
    exhaust(Setup::of(MIXED).going_wrong(2, 0, 0, 0), 357_566);
}

#[test]
fn exhausted_two_crashes_of_three_that_write() {
    exhaust(Setup::of(WRITING).going_wrong(2, 0, 0, 0), 1_344_241);
}

#[test]
fn exhausted_a_crash_a_loss_and_a_copy() {
    exhaust(Setup::of(MIXED).going_wrong(1, 1, 1, 0), 1_959_870);
}

#[test]
fn exhausted_two_crashes_and_a_copy() {
    exhaust(Setup::of(MIXED).going_wrong(2, 0, 1, 0), 2_526_266);
}

#[test]
fn answers_take_time() {
    exhaust(Setup { slow_answers: true, ..Setup::of(MIXED).going_wrong(1, 0, 0, 0) }, 83_780);
    exhaust(Setup { slow_answers: true, ..Setup::of(MIXED).going_wrong(0, 1, 0, 1) }, 62_646);
}

#[test]
fn greetings_take_time_and_nobody_waits_for_the_unreachable() {
    let setup = Setup { slow_greetings: true, impatient: true, ..Setup::of(MIXED).going_wrong(1, 0, 0, 0) };
    exhaust(setup, 473_489);
}

#[test]
fn t04_one_phase() {
    exhaust(Setup { slow_answers: true, ..Setup::of(ALONE).going_wrong(2, 1, 1, 1) }, 715_297);
}

#[test]
fn two_transactions_side_by_side_and_hasty_questions() {
    exhaust(Setup { hasty: true, ..Setup::of(BESIDE).going_wrong(1, 0, 0, 0) }, 215_689);
}

#[test]
fn t02_participants_ask_each_other() {
    exhaust(Setup { peers: true, ..Setup::of(MIXED).going_wrong(1, 1, 0, 0) }, 549_559);
}

#[test]
fn t10_interactive() {
    exhaust(Setup { interactive: true, ..Setup::of(MIXED).going_wrong(1, 0, 0, 0) }, 261_982);
}

#[test]
fn t10_interactive_shared() {
    exhaust(
        Setup { interactive: true, shared: true, hasty: true, ..Setup::of(MIXED).going_wrong(0, 1, 0, 0) },
        162_420,
    );
}

#[test]
fn t10_interactive_alone() {
    exhaust(Setup { interactive: true, ..Setup::of(ALONE).going_wrong(1, 1, 1, 0) }, 40_110);
}

#[test]
fn every_broken_rule_is_found() {
    let mixed = |crashes, copies| Setup::of(MIXED).going_wrong(crashes, 0, copies, 0);
    let table = [
        (Mutant::PresumesTooSoon, mixed(0, 0)),
        (Mutant::SpeaksBeforeForce, mixed(1, 0)),
        (Mutant::VotesBeforeForce, mixed(0, 0)),
        (Mutant::AcknowledgesBeforeApply, mixed(0, 0)),
        (Mutant::ForgetsPrepared, mixed(1, 0)),
        (Mutant::ForgetsDecisions, mixed(1, 0)),
        (Mutant::NoFence, mixed(1, 1)),
        (Mutant::AnyIncarnation, mixed(1, 1)),
        (Mutant::OnePhaseTimeoutAborts, Setup::of(ALONE)),
        (Mutant::GivesUpInDoubt, mixed(0, 0)),
        (Mutant::NoTraceIsAbort, Setup { peers: true, ..mixed(1, 0) }),
    ];
    for (mutant, setup) in table {
        let violated = violated(setup.breaking(mutant));
        println!("{mutant:?}: {violated:?}");
        assert!(!violated.is_empty(), "{mutant:?} is not found");
    }
}
