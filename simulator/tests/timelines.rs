//! Every timeline, played in the world: one test for each, under several seeds, which draw only how long messages and
//! disks take.

use handfast_simulator::timelines::{all, named};

macro_rules! timelines {
    ($($name:ident,)*) => {
        /// Those that have a test.
        const NAMES: &[&str] = &[$(stringify!($name),)*];

        $(
            #[test]
            fn $name() {
                play(stringify!($name));
            }
        )*
    };
}

timelines! {
    held_a_cooperative_abort_beside_a_slow_coordinator,
    held_a_crash_before_the_acknowledgement,
    held_a_crash_before_the_force,
    held_a_decision_learned_from_a_peer,
    held_a_fence_over_a_restart,
    held_a_late_commit_at_one_that_lags,
    held_a_late_prepare_at_one_that_lags,
    held_a_lost_abort_and_a_coordinator,
    held_a_lost_abort_and_a_participant,
    held_a_lost_answer_to_begin,
    held_a_lost_rollback,
    held_a_prepare_twice,
    held_a_yes_after_the_abort,
    held_an_abort_behind_its_prepare,
    held_an_ambiguous_group_commit,
    held_applies_ride_with_the_next_batch,
    held_enlisting_after_the_commit_was_sent,
    held_handed_over_and_the_client_is_gone,
    held_ids_do_not_repeat,
    held_one_shot_locks_are_strict,
    held_waiting_for_a_branch_in_doubt,
    t01a_reader_behind_a_slow_prepare,
    t01b_writer_behind_a_slow_prepare,
    t01c_reader_restarts_behind_a_slow_prepare,
    t02a_asked_of_a_restarted_reader,
    t02b_asked_at_an_old_address,
    t02c_asked_of_a_wiped_store,
    t02d_a_prepare_slower_than_a_promise,
    t02d_a_promise_that_a_restart_forgot,
    t02e_asked_while_the_record_is_queued,
    t03_the_last_branch_is_gone,
    t03_the_last_decision_is_gone,
    t04a_one_phase_asked_before_it_arrives,
    t04b_one_phase_late_copy,
    t04b_one_phase_late_copy_after_a_restart,
    t04c_one_phase_whose_record_is_lost,
    t04d_one_phase_at_a_participant_that_is_away,
    t04e_one_phase_asked_while_it_waits_for_a_lock,
    t04e_one_phase_asked_while_queued,
    t04f_one_phase_seen_before_it_is_on_disk,
    t04f_one_phase_written_over_before_it_is_on_disk,
    t05_a_late_prepare_below_the_mark,
    t05_a_late_prepare_below_the_mark_after_a_restart,
    t06_a_second_copy_of_a_participant,
    t06_a_wiped_participant,
    t06_an_older_copy_of_a_participant,
    t07a_asked_when_it_is_trimmed,
    t07b_a_question_without_a_ticket,
    t07b_a_question_without_a_ticket_when_it_is_trimmed,
    t07c_a_stale_ticket,
    t07c_a_stale_ticket_of_what_is_committed,
    t07d_the_ticket_of_another_coordinator,
    t07e_a_fenced_key_comes_late,
    t07e_a_fenced_key_comes_when_it_is_trimmed,
    t08a_one_epoch_twice,
    t08a_one_epoch_twice_and_both_are_let_in,
    t08b_a_fenced_copy_under_a_supervisor,
    t09a_asked_of_everybody,
    t09a_asked_of_whoever_is_up,
    t09b_a_decision_that_was_never_forced,
    t09c_all_decisions_are_trimmed,
    t09d_a_client_asks_a_log_without_its_tail,
    t09e_a_decision_that_only_the_client_has_heard,
    t10a_work_on_both_sides_of_a_restart,
    t10b_a_branch_without_a_trace,
    t10b_a_restart_after_reading,
    t10c_an_operation_sent_again,
    t10d_an_operation_after_a_conflict,
    t10d_an_operation_after_the_idle_limit,
    t10e_an_operation_after_the_vote,
    t10e_prepare_while_an_operation_runs,
    t10e_prepare_while_an_operation_waits,
    t10f_an_operation_after_another_branch_has_voted,
    t11_asked_while_the_decision_is_queued,
    t11_asked_while_the_vote_is_on,
    t12a_a_commit_of_an_older_epoch,
    t12b_an_epoch_that_was_only_in_memory,
    t12b_hello_while_older_work_is_queued,
    t13_shared_locks_of_a_branch_in_doubt,
    t14_a_mark_beside_one_that_is_away,
    t14_a_mark_over_a_branch_in_doubt,
    t15_what_is_no_decision_ends_nothing,
    t16_no_room_at_a_participant,
    t16_no_room_at_the_coordinator,
    t17_a_failed_sync_that_left_all,
    t17_a_failed_sync_that_left_nothing,
    t18_waiting_behind_one_who_waits,
    t19_a_zombie_and_its_client,
    t20_a_read_only_outcome_does_not_survive,
}

#[test]
fn every_timeline_has_a_test_of_its_name() {
    let all: Vec<&str> = all().iter().map(|timeline| timeline.name).collect();
    assert_eq!(all, NAMES);
}

/// Orders of events differ from seed to seed; the moment must come in each of them.
const SEEDS: u64 = 20;

fn play(name: &str) {
    let timeline = named(name).expect("a timeline of this name");
    for seed in 0..SEEDS {
        if let Err(failed) = timeline.play(seed) {
            let story = timeline.world(seed).narrated().run().err().map(|failed| failed.story).unwrap_or_default();
            let story = &story[story.len().saturating_sub(60)..];
            let lines: Vec<String> = story.iter().map(|line| line.chars().take(300).collect()).collect();
            panic!("{name}, seed {seed}: {}\n{}", failed.violation, lines.join("\n"));
        }
    }
}
