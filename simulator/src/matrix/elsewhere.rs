//! Cells that the simulator does not hit: those of what is not built, and those that are only there over real sockets.

/// Cells that are open, from the first to the last of each, and why.
pub const OPEN: &[(u16, u16, &str)] = &[
    (100, 106, "co13: the decision log on etcd is not built"),
    (158, 175, "pg1-pg4: PostgreSQL branches are not built"),
    (176, 193, "my1-my4: MariaDB branches are not built"),
    (194, 197, "op1: an operator can't decide a branch yet"),
    (198, 199, "op2: an operator can't forget a transaction yet"),
    (202, 203, "op4: there is no second release to upgrade from"),
    (204, 207, "op5: there are no certificates yet"),
    (211, 211, "srv1: roles come with TLS, which is not built"),
];

/// A cell that is hit by a test over real sockets or real processes.
#[derive(Clone, Copy, Debug)]
pub struct Elsewhere {
    /// Which.
    pub cell: u16,
    /// The file of the test, from the workspace's folder.
    pub file: &'static str,
    /// Its name.
    pub test: &'static str,
}

/// All of them.
pub const ELSEWHERE: &[Elsewhere] = &[
    at(208, HANDSHAKES, "a_listener_that_says_nothing_times_out_and_one_that_closes_is_told"),
    at(209, HANDSHAKES, "garbage_and_silent_dialers_go_while_others_are_served"),
    at(210, HANDSHAKES, "connections_over_the_cap_are_told_so_and_places_come_free"),
    at(212, HANDSHAKES, "garbage_and_silent_dialers_go_while_others_are_served"),
    at(213, SERVING, "a_frame_cut_or_held_back_ends_its_connection"),
    at(214, SERVING, "above_the_cap_a_request_is_refused_as_not_executed"),
    at(215, SERVING, "hostile_frames_close_their_connection_and_no_other"),
    at(216, DRAINS, "a_kill_in_the_middle_of_a_drain_loses_nothing"),
    at(217, DRAINS, "a_client_that_vanishes_in_a_drain_does_not_hold_it_up"),
    at(218, DRAINS, "a_stopped_participant_does_not_hold_up_a_drain_beyond_its_limit"),
    at(219, DRAINS, "what_comes_in_a_drain_is_refused_as_not_executed"),
];

const HANDSHAKES: &str = "common/src/rpc/tests/handshakes.rs";
const SERVING: &str = "common/src/rpc/tests/serving.rs";
const DRAINS: &str = "tests/tests/drains.rs";

const fn at(cell: u16, file: &'static str, test: &'static str) -> Elsewhere {
    Elsewhere { cell, file, test }
}

/// Why a cell is open, if it is.
#[must_use]
pub fn is_open(cell: u16) -> Option<&'static str> {
    OPEN.iter().find(|(first, last, _)| (*first..=*last).contains(&cell)).map(|(.., why)| *why)
}

/// The test that hits a cell over real sockets or real processes.
#[must_use]
pub fn elsewhere(cell: u16) -> Option<&'static Elsewhere> {
    ELSEWHERE.iter().find(|elsewhere| elsewhere.cell == cell)
}
