//! What any resource manager with its log must pass, however it keeps its data: duplicates, reorders, crashes between any
//! two steps, restarts.
//!
//! Implement [`Subject`] for the store in question, on a disk in memory or in a folder, and call [`check`] from a test:
//!
//! ```text
//! let report = check(&mut subject, &Group::ALL).await;
//! assert!(report.is_clean(), "{report}");
//! ```
//!
//! Each rule has a name, and what it does can be read as the timeline that a store without it fails in. The suite is
//! itself tested against a store with a switch for every defect: each has to be found, by the rule that is meant for it.

mod bench;
mod crashes;
mod interactive;
mod log;
mod one_phase;
#[cfg(test)]
mod tests;
mod two_phase;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use handfast_common::ids::Incarnation;
use handfast_common::outcome::Payload;

use crate::resource::{ParticipantLog, ResourceManager};
use bench::Bench;

/// A store under test, and the disk below it.
///
/// It holds integers by key, 0 where there is nothing, and does work of three kinds: it adds, it reads, it refuses.
/// Keys are short texts of letters and digits.
pub trait Subject {
    /// What is tested.
    type Store: ResourceManager + ParticipantLog;

    /// Begins with an empty disk: no store was ever made on it.
    fn wipe(&mut self);

    /// Opens the store as a start of the participant does, and makes it if there is none. The one before is gone.
    fn open(&mut self, incarnation: Incarnation) -> impl Future<Output = Self::Store>;

    /// The process is killed: what the open store writes from here on, while it is dropped, never reaches the disk.
    fn crash(&mut self);

    /// How many states of the disk there have been that a crash could have left, since the last [`Subject::wipe`]; with the
    /// present one as the last of them. A subject whose disk can't tell says 0, and is spared those rules.
    fn moments(&self) -> usize {
        0
    }

    /// Puts the disk back to one of those states, counted from 1. No store is open.
    fn stop_at(&mut self, moment: usize) {
        let _ = moment;
    }

    /// Work that adds to some keys, all or none of them, and whose result is not empty if the store tells results.
    fn add(&self, changes: &[(&str, i64)]) -> Payload;

    /// Work that only reads a key; `None` where the store knows no such thing.
    fn read(&self, key: &str) -> Option<Payload>;

    /// Work that the store refuses whenever it is asked, without a conflict.
    fn refused(&self) -> Payload;

    /// The last committed value of a key, as an outsider sees it.
    fn value(&self, store: &Self::Store, key: &str) -> i64;

    /// Whether work on a key that another branch holds waits or is refused. A store that can do both branches in any
    /// order (adding to counters without a limit, say) may say no.
    fn isolates(&self) -> bool {
        true
    }

    /// Whether the store itself remembers an abort of what it never saw. Where it does not, the participant in front of
    /// it does, within one start, and its incarnation refuses over a restart.
    fn remembers_aborts(&self) -> bool {
        true
    }

    /// Whether an operation of a branch reads what an earlier one of it wrote.
    fn reads_own_writes(&self) -> bool {
        true
    }
}

/// Rules that belong together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Group {
    /// Prepare, commit, abort, read-only.
    TwoPhase,
    /// Commits of one branch.
    OnePhase,
    /// What the protocol keeps beside the branches.
    Log,
    /// Crashes inside of steps.
    Crashes,
    /// Operations before Prepare.
    Interactive,
    /// Earlier starts, for the guard against copies.
    Starts,
}

impl Group {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::TwoPhase, Self::OnePhase, Self::Log, Self::Crashes, Self::Interactive, Self::Starts];
}

/// What a run has found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Rules that hold.
    pub passed: Vec<&'static str>,
    /// Rules that are broken, each with what happened.
    pub failed: Vec<Failure>,
    /// Rules that this subject is spared, by what it says of itself.
    pub skipped: Vec<&'static str>,
}

/// A broken rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Which.
    pub rule: &'static str,
    /// What happened.
    pub why: String,
}

impl Report {
    /// Whether nothing was found, and something was looked at.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failed.is_empty() && !self.passed.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (passed, failed, skipped) = (self.passed.len(), self.failed.len(), self.skipped.len());
        write!(f, "{passed} rules hold, {failed} are broken, {skipped} were not asked for")?;
        for Failure { rule, why } in &self.failed {
            write!(f, "\n  {rule}: {why}")?;
        }
        Ok(())
    }
}

/// Runs the rules of some groups, each on a disk of its own. A broken rule does not keep the others from being checked.
///
/// Needs a tokio runtime with time. Rules of crashes open the store a few dozen times.
pub async fn check<S: Subject>(subject: &mut S, groups: &[Group]) -> Report {
    let mut report = Report::default();
    for rule in rules().into_iter().filter(|rule| groups.contains(&rule.group)) {
        subject.wipe();
        let mut bench = Bench::new(subject);
        match (rule.run)(&mut bench).await {
            Ok(Verdict::Holds) => report.passed.push(rule.name),
            Ok(Verdict::NotAsked) => report.skipped.push(rule.name),
            Err(why) => report.failed.push(Failure { rule: rule.name, why }),
        }
    }
    report
}

/// What a rule comes to, or what is wrong.
type Checked = Result<Verdict, String>;

enum Verdict {
    Holds,
    NotAsked,
}

struct Rule<S: Subject> {
    name: &'static str,
    group: Group,
    run: for<'a, 'b> fn(&'a mut Bench<'b, S>) -> Checking<'a>,
}

type Checking<'a> = Pin<Box<dyn Future<Output = Checked> + 'a>>;

fn rules<S: Subject>() -> Vec<Rule<S>> {
    macro_rules! rules {
        ($($group:ident: $module:ident { $($name:ident),* $(,)? })*) => {
            vec![$($(Rule {
                name: stringify!($name),
                group: Group::$group,
                run: |bench| Box::pin($module::$name(bench)),
            }),*),*]
        };
    }
    rules! {
        TwoPhase: two_phase {
            yes_is_on_disk,
            undecided_is_invisible,
            commit_is_on_disk_when_it_is_answered,
            commit_twice_applies_once,
            commit_of_an_unknown_branch_is_lost,
            abort_undoes_for_good,
            abort_twice_is_no_error,
            late_prepare_after_abort_is_refused,
            late_prepare_after_commit_is_refused,
            repeated_prepare_gets_the_same_vote,
            what_was_read_stands_in_the_record,
            no_leaves_nothing,
            locks_are_held_until_the_decision,
            locks_are_held_again_after_a_restart,
            cancel_ends_what_waits,
            cancel_leaves_what_is_prepared,
            read_only_holds_until_released,
        }
        OnePhase: one_phase {
            one_phase_is_on_disk_with_its_marker,
            one_phase_twice_applies_once,
            one_phase_refused_leaves_nothing,
            one_phase_that_only_reads_leaves_no_marker,
        }
        Log: log {
            identity_stays,
            lines_are_on_disk_when_forced,
            force_covers_what_was_noted_before,
            sequence_counts_branches_and_never_falls,
            markers_stay_until_the_mark_covers_them,
            markers_go_with_the_mark,
            mark_never_ends_a_prepared_branch,
        }
        Crashes: crashes {
            every_promise_holds_at_every_moment,
        }
        Interactive: interactive {
            operations_see_what_the_branch_wrote_and_nobody_else_does,
            operations_are_prepared_together,
            refused_operation_leaves_the_branch_as_it_was,
            open_branch_is_gone_after_a_restart,
            abort_ends_an_open_branch,
            operations_commit_in_one_phase,
            operations_that_only_read_vote_read_only,
            cancel_dooms_an_operation_that_waits,
        }
        Starts: log {
            starts_are_remembered,
        }
    }
}
