//! A store that is right, unless a switch says what is wrong with it. The suite has to find each defect, by its rule.

mod disk;
mod store;

use std::cell::RefCell;
use std::rc::Rc;

use handfast_common::ids::Incarnation;
use handfast_common::outcome::Payload;

use super::super::{Group, Report, Subject, check};
use super::ledger::LedgerWork;
use disk::World;
use store::BrokenStore;

/// What is wrong, and the rule that finds it.
macro_rules! defects {
    ($($defect:ident => $rule:ident,)*) => {
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(super) enum Defect { $($defect),* }
        const DEFECTS: &[(Defect, &str)] = &[$((Defect::$defect, stringify!($rule))),*];
    };
}

defects! {
    YesBeforeDurable => yes_is_on_disk,
    ForgetsPrepared => yes_is_on_disk,
    VisibleBeforeDecision => undecided_is_invisible,
    CommitNotDurable => commit_is_on_disk_when_it_is_answered,
    AppliesTwice => commit_twice_applies_once,
    ForgetsMarkers => commit_twice_applies_once,
    AcknowledgesUnknown => commit_of_an_unknown_branch_is_lost,
    AbortNotUndone => abort_undoes_for_good,
    AbortKeepsLocks => abort_undoes_for_good,
    AbortOfNothingHangs => abort_twice_is_no_error,
    RunsAfterAbort => late_prepare_after_abort_is_refused,
    ForgetsAborts => late_prepare_after_abort_is_refused,
    RemembersAbortsOnce => late_prepare_after_abort_is_refused,
    RunsAfterCommit => late_prepare_after_commit_is_refused,
    VotesDifferently => repeated_prepare_gets_the_same_vote,
    ReadsNotInRecord => what_was_read_stands_in_the_record,
    NoKeepsLocks => no_leaves_nothing,
    NoLocks => locks_are_held_until_the_decision,
    LocksLost => locks_are_held_again_after_a_restart,
    CancelIgnored => cancel_ends_what_waits,
    CancelEndsPrepared => cancel_leaves_what_is_prepared,
    ReadOnlyLetsGo => read_only_holds_until_released,
    ReadOnlyNeverLetsGo => read_only_holds_until_released,
    LosesOnePhaseMarker => one_phase_is_on_disk_with_its_marker,
    OnePhaseTwice => one_phase_twice_applies_once,
    OnePhaseRefusedIsMarked => one_phase_refused_leaves_nothing,
    OnePhaseReadIsMarked => one_phase_that_only_reads_leaves_no_marker,
    IdentityChanges => identity_stays,
    ForceNotDurable => lines_are_on_disk_when_forced,
    NoteLost => force_covers_what_was_noted_before,
    SequenceSleeps => sequence_counts_branches_and_never_falls,
    SequenceCountsStarts => sequence_counts_branches_and_never_falls,
    SequenceForgotten => sequence_counts_branches_and_never_falls,
    TrimsExceptions => markers_stay_until_the_mark_covers_them,
    NeverTrims => markers_go_with_the_mark,
    MarkEndsPrepared => mark_never_ends_a_prepared_branch,
    AppliesByHalves => every_promise_holds_at_every_moment,
    MarkerAfterEffect => every_promise_holds_at_every_moment,
    OpenIsVisible => operations_see_what_the_branch_wrote_and_nobody_else_does,
    OwnWritesUnseen => operations_see_what_the_branch_wrote_and_nobody_else_does,
    PreparesLastOperation => operations_are_prepared_together,
    FailureDropsBranch => refused_operation_leaves_the_branch_as_it_was,
    PreparesNothing => open_branch_is_gone_after_a_restart,
    AbortLeavesOpen => abort_ends_an_open_branch,
    OnePhaseIgnoresOperations => operations_commit_in_one_phase,
    ReadsVoteYes => operations_that_only_read_vote_read_only,
    CancelLeavesOperations => cancel_dooms_an_operation_that_waits,
    StartsForgotten => starts_are_remembered,
}

struct Broken {
    defect: Option<Defect>,
    world: Rc<RefCell<World>>,
}

impl Broken {
    fn new(defect: Option<Defect>) -> Self {
        Self { defect, world: Rc::default() }
    }
}

impl Subject for Broken {
    type Store = BrokenStore;

    fn wipe(&mut self) {
        self.world = Rc::default();
    }

    async fn open(&mut self, incarnation: Incarnation) -> BrokenStore {
        BrokenStore::open(self.defect, Rc::clone(&self.world), incarnation)
    }

    fn crash(&mut self) {
        let world = self.world.borrow().after_a_kill();
        self.world = Rc::new(RefCell::new(world));
    }

    fn moments(&self) -> usize {
        self.world.borrow().moments()
    }

    fn stop_at(&mut self, moment: usize) {
        self.world.borrow_mut().stop_at(moment);
    }

    fn add(&self, changes: &[(&str, i64)]) -> Payload {
        LedgerWork::Add(changes.iter().map(|(key, amount)| ((*key).to_owned(), *amount)).collect()).encode()
    }

    fn read(&self, key: &str) -> Option<Payload> {
        Some(LedgerWork::Read(key.to_owned()).encode())
    }

    fn refused(&self) -> Payload {
        LedgerWork::Refused.encode()
    }

    fn value(&self, store: &BrokenStore, key: &str) -> i64 {
        store.value(key)
    }
}

/// The suite waits for what never answers: on a clock that runs ahead, that costs nothing.
fn on_a_fast_clock(defect: Option<Defect>) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(check(&mut Broken::new(defect), &Group::ALL))
}

#[test]
fn a_store_without_a_defect_passes() {
    let report = on_a_fast_clock(None);
    assert!(report.is_clean() && report.skipped.is_empty(), "{report}");
}

#[test]
fn every_defect_is_found_by_the_rule_that_is_meant_for_it() {
    let mut missed = Vec::new();
    for (defect, rule) in DEFECTS {
        let report = on_a_fast_clock(Some(*defect));
        if !report.failed.iter().any(|failure| failure.rule == *rule) {
            missed.push(format!("{defect:?} is not found by {rule}: {report}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn every_rule_finds_a_defect() {
    let report = on_a_fast_clock(None);
    let idle = |rule: &&&str| !DEFECTS.iter().any(|(_, meant)| meant == *rule);
    let idle: Vec<_> = report.passed.iter().filter(idle).collect();
    assert!(idle.is_empty(), "no defect shows that these can fail: {idle:?}");
}
