//! What there is to see, oldest first.

/// A bug that was found.
#[derive(Debug)]
pub(crate) struct Exhibit {
    /// How it is called.
    pub(crate) name: &'static str,
    /// What went wrong, and what keeps it from going wrong again.
    pub(crate) what: [&'static str; 2],
    /// The source file of the test that keeps it away.
    pub(crate) file: &'static str,
    /// The test.
    pub(crate) test: &'static str,
}

pub(crate) const EXHIBITS: &[Exhibit] = &[
    Exhibit {
        name: "every batch counted",
        what: [
            "The store's sequence counted every batch: an old copy, greeted a few times, looked as new as the real one, and 200 units were lost.",
            "Only writes that a branch has a part in are counted.",
        ],
        file: "tests/tests/crashes.rs",
        test: "t06_an_old_copy_of_a_participant_stays_refused_however_often_it_is_started",
    },
    Exhibit {
        name: "the lost Welcome",
        what: [
            "The answer to a Hello told of a foreign epoch and was lost; the answer to the next one told only of our own.",
            "Hello compares and sets: a participant takes in only a start that knows what it has seen last.",
        ],
        file: "participant/src/protocol/tests/copies.rs",
        test: "t08b_a_lost_welcome_does_not_hide_a_foreign_epoch",
    },
    Exhibit {
        name: "the idle coordinator",
        what: [
            "A coordinator that was replaced by a copy and had nothing to say never heard of it.",
            "A registration carries what its participant has seen.",
        ],
        file: "coordinator/src/protocol/tests/registry.rs",
        test: "f21_an_idle_coordinator_hears_from_a_registration_that_it_was_replaced",
    },
    Exhibit {
        name: "the mark over the unreported",
        what: [
            "A mark passed a one-phase commit before its participant had reported it, and the only trace of it was trimmed.",
            "Marks go to a participant only as far as it has reported in this epoch, whatever answer was lost.",
        ],
        file: "coordinator/src/protocol/tests/hello.rs",
        test: "t04c_a_welcome_that_was_lost_does_not_let_the_mark_pass_what_it_reported",
    },
    Exhibit {
        name: "one bit in the header",
        what: [
            "One flipped bit of a killed file's header selects the older commit, and redb opens it without a word.",
            "A hint beside the file says which commit was reported last; an older one is refused.",
        ],
        file: "common/src/storage/damage_tests.rs",
        test: "f09_the_hint_is_what_finds_a_header_that_selects_the_older_commit",
    },
    Exhibit {
        name: "the dropped End records",
        what: [
            "The log's queue gave lazy records back beyond 65,536: a restart with more than that in doubt ended as damage at their trim.",
            "The queue takes all; what can be in it is bounded where transactions begin.",
        ],
        file: "coordinator/src/log/tests.rs",
        test: "a_flood_of_lazy_records_is_taken_whole_while_a_write_is_on_its_way",
    },
    Exhibit {
        name: "the throttled healthy",
        what: [
            "A burst after a quiet time was taken for silence, and two healthy participants were held to a quarter of the places.",
            "Silent is who does not answer for a whole tick, or is not connected.",
        ],
        file: "coordinator/src/protocol/tests/share.rs",
        test: "a_burst_after_a_quiet_time_is_not_taken_for_silence",
    },
    Exhibit {
        name: "less than a millisecond",
        what: [
            "A prepare timeout below a millisecond made the machine panic.",
            "The time that is left is never taken for none.",
        ],
        file: "coordinator/src/protocol/tests/share.rs",
        test: "a_prepare_timeout_below_a_millisecond_is_no_panic",
    },
    Exhibit {
        name: "the entry that came back",
        what: [
            "An operator removed a participant; a trim in between wrote its registration back. Found by recovery from every prefix.",
            "Removing takes the entry out before anything of it ends.",
        ],
        file: "coordinator/src/protocol/tests/prefixes.rs",
        test: "f04_f07_every_prefix_of_the_log_recovers_and_keeps_what_was_told",
    },
    Exhibit {
        name: "the late Begin",
        what: [
            "A Begin with the ticket of an older epoch could be opened, though its key may have ended before.",
            "A ticket of an older epoch begins nothing.",
        ],
        file: "coordinator/src/protocol/tests/old_keys.rs",
        test: "t07c_a_begin_of_an_older_epoch_is_never_opened",
    },
    Exhibit {
        name: "the newest locked out",
        what: [
            "An old copy of the log, started a few times, left epochs at the participants that kept the newest copy out for ever.",
            "It can't name what a participant has seen last, and leaves no trace there.",
        ],
        file: "tests/tests/world.rs",
        test: "t08b_an_older_copy_leaves_no_trace_and_the_original_goes_on",
    },
    Exhibit {
        name: "removed, but not on disk",
        what: [
            "A question to everybody left out a participant whose removal was still on its way to the disk: told Aborted, though it may have committed.",
            "Until the record is on disk it is one of everybody.",
        ],
        file: "coordinator/src/protocol/tests/operator.rs",
        test: "f02_a_question_to_everybody_includes_who_is_removed_until_that_is_on_disk",
    },
    Exhibit {
        name: "removed, registered, forgotten",
        what: [
            "A participant was removed by force at work on a one-phase commit, registered again, and a mark took the only trace of that commit.",
            "What it may still commit alone is an exception of its mark.",
        ],
        file: "coordinator/src/protocol/tests/operator.rs",
        test: "t04c_no_mark_passes_what_a_removed_participant_may_still_commit_alone",
    },
    Exhibit {
        name: "the changed amount",
        what: [
            "A bit that changed on the way made another vote or another amount, and passed: TCP's checksum lets one such segment of 65,536 through.",
            "Every frame and hello carries a checksum. Found by a proxy that changes bytes.",
        ],
        file: "common/src/rpc/frame/tests.rs",
        test: "a_bit_that_changed_on_the_way_is_found_wherever_it_is",
    },
    Exhibit {
        name: "the oracle that cried wolf",
        what: [
            "A Yes that was repeated after its abort had been carried out counted as a new promise (seed 1348 of the world).",
            "It promises nothing; the seed is run again here.",
        ],
        file: "tests/museum/main.rs",
        test: "a_repeated_yes_after_the_abort",
    },
    Exhibit {
        name: "files that were closed in order",
        what: [
            "Damage was tried only on files of killed processes; redb itself checks nothing of one that was closed in order.",
            "Both kinds are damaged, and what is missed is a failure.",
        ],
        file: "simulator/tests/damage.rs",
        test: "t03_a_damaged_file_is_refused_or_gives_exactly_what_was_there",
    },
    Exhibit {
        name: "the fence that forgot",
        what: [
            "The fencing oracle forgot epochs over a participant's restart, so an epoch kept in memory only was not found.",
            "It remembers, and the mutant that keeps it in memory is caught.",
        ],
        file: "simulator/tests/timelines.rs",
        test: "t12b_an_epoch_that_was_only_in_memory",
    },
    Exhibit {
        name: "a lock that its holder takes again",
        what: [
            "A client's pool started its sweeper with its lock held; a runtime that is ending drops it at once, which locks.",
            "It lets go before; and debug builds now look at the order of all locks, their own twice included.",
        ],
        file: "client/src/pool.rs",
        test: "a_runtime_that_has_ended_holds_nobody_up",
    },
];
