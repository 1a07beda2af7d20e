//! One history for each anomaly, and the good one that is most like it.

use handfast_tests::history::{Anomalies, Checked, Class, Recorder, list_to_text, text_to_list};

use super::history;

fn anomalies(lines: &[&str]) -> Anomalies {
    history(lines).check().expect_err("this history can't have run one after the other")
}

fn classes(lines: &[&str]) -> Vec<Class> {
    anomalies(lines).0.iter().map(|anomaly| anomaly.class).collect()
}

fn checked(lines: &[&str]) -> Checked {
    history(lines).check().unwrap_or_else(|anomalies| panic!("a false alarm:\n{anomalies}"))
}

#[test]
fn a_serial_history_has_no_anomaly() {
    let checked = checked(&[
        "C a x 1; a y 2",
        "C l x 1; a x 3; w r 10",
        "A a x 4; l y 2",
        "C l x 1,3; r r 10; w r 11; r r 11",
        "? a y 5",
        "? a y 6",
        "C l y 2,5; l x 1,3",
        "E l x 1,3; l y 2,5; r r 11",
    ]);
    assert_eq!(checked, Checked { committed: 5, resolved: 1, ww: 3, wr: 8, rw: 0 });
}

#[test]
fn an_empty_history_has_no_anomaly() {
    assert_eq!(history(&[]).check(), Ok(Checked::default()));
}

#[test]
fn g0_writes_of_two_transactions_interleave() {
    let found = ["C a x 1; a y 2", "C a x 3; a y 4", "C l x 1,3; l y 4,2"];
    assert_eq!(classes(&found), [Class::G0]);
    assert_eq!(anomalies(&found).0[0].transactions, [0, 1]);
    checked(&["C a x 1; a y 2", "C a x 3; a y 4", "C l x 1,3; l y 2,4"]);
}

#[test]
fn g1a_a_read_of_what_was_aborted() {
    assert_eq!(classes(&["A a x 1", "C l x 1"]), [Class::G1a]);
    assert_eq!(classes(&["A w x 1", "C r x 1"]), [Class::G1a]);
    // Who was not told may have committed.
    assert_eq!(checked(&["? a x 1", "C l x 1"]).resolved, 1);
    assert_eq!(checked(&["? w x 1", "? r x 1; w y 2", "C r y 2"]).resolved, 2);
    // An aborted transaction may have seen anything.
    checked(&["A a x 1", "A l x 1", "? l x 1", "C l x -"]);
}

#[test]
fn g1b_a_read_of_what_was_written_once_more() {
    assert!(anomalies(&["C a x 1; a x 2", "C l x 1"]).has(Class::G1b));
    assert!(anomalies(&["C w x 1; w x 2", "C r x 1"]).has(Class::G1b));
    checked(&["C a x 1; a x 2", "C l x 1,2"]);
    // Oneself may look in between.
    checked(&["C a x 1; l x 1; a x 2; l x 1,2", "C w y 1; r y 1; w y 2; r y 2", "C r y 2"]);
}

#[test]
fn g1c_two_transactions_read_from_each_other() {
    let found = ["C a x 1; l y 2", "C a y 2; l x 1"];
    assert_eq!(classes(&found), [Class::G1c]);
    checked(&["C a x 1; l y -", "C a y 2; l x 1"]);
    assert_eq!(classes(&["C w x 1; r y 2", "C w y 2; r x 1"]), [Class::G1c]);
}

#[test]
fn g_single_lost_update() {
    // Whether anybody has looked afterwards or not.
    for rest in ["C l x 1,2", "C l x 1,3", "C l x 1"] {
        let found = ["C a x 1", "C l x 1; a x 2", "C l x 1; a x 3", rest];
        assert_eq!(classes(&found), [Class::GSingle], "{rest}");
    }
    assert_eq!(classes(&["C w x 1", "C r x 1; w x 2", "C r x 1; w x 3"]), [Class::GSingle]);
    assert_eq!(classes(&["C r x -; w x 2", "C r x -; w x 3"]), [Class::GSingle]);
    checked(&["C a x 1", "C l x 1; a x 2", "C l x 1,2; a x 3"]);
    checked(&["C a x 1", "C l x 1; a x 2", "A l x 1; a x 3"]);
}

#[test]
fn g_single_fractured_read() {
    let found = ["C a x 1; a y 2", "C l x 1; l y -"];
    assert_eq!(classes(&found), [Class::GSingle]);
    assert_eq!(classes(&["C r x -; r y -; w x 1; w y 2", "C r x 1; r y -"]), [Class::GSingle]);
    checked(&["C a x 1; a y 2", "C l x 1; l y 2", "C l x -; l y -"]);
}

#[test]
fn g_single_two_reads_that_differ() {
    assert_eq!(classes(&["C a x 1", "C l x -; l x 1"]), [Class::GSingle]);
    assert_eq!(classes(&["C r x -; w x 1", "C r x -; r x 1"]), [Class::GSingle]);
}

#[test]
fn g2_write_skew() {
    let found = ["C l x -; l y -; a x 1", "C l x -; l y -; a y 2"];
    assert_eq!(classes(&found), [Class::G2]);
    assert_eq!(classes(&["C r x -; r y -; w x 1", "C r x -; r y -; w y 2"]), [Class::G2]);
    // Written without looking there first: still after what the other saw.
    assert_eq!(classes(&["C l y -; a x 1", "C l x -; a y 2"]), [Class::G2]);
    assert_eq!(classes(&["C r y -; w x 1", "C r x -; w y 2"]), [Class::G2]);
    checked(&["C l x -; l y -; a x 1", "C l x 1; l y -; a y 2"]);
}

#[test]
fn g2_long_fork() {
    let found = ["C a x 1", "C a y 2", "C l x 1; l y -", "C l x -; l y 2"];
    assert_eq!(classes(&found), [Class::G2]);
    checked(&["C a x 1", "C a y 2", "C l x 1; l y -", "C l x -; l y -", "C l x 1; l y 2"]);
}

#[test]
fn reads_that_do_not_continue_each_other() {
    assert!(anomalies(&["C a x 1", "C a x 2", "C l x 1,2", "C l x 2"]).has(Class::Incompatible));
    assert!(anomalies(&["C a x 1", "C l x 7"]).has(Class::Garbage));
    assert!(anomalies(&["C w x 1", "C r x 7"]).has(Class::Garbage));
    assert!(anomalies(&["C a x 1", "C l x 1,1"]).has(Class::Duplicate));
}

#[test]
fn a_transaction_that_does_not_see_its_own_writes() {
    assert_eq!(classes(&["C a x 1; l x -"]), [Class::Internal]);
    assert_eq!(classes(&["C w x 1; r x -"]), [Class::Internal]);
    assert_eq!(classes(&["C a x 1; l x 1,2", "C a x 2"]), [Class::Internal]);
    assert_eq!(classes(&["C a x 1; a x 2", "C l x 2,1"])[0], Class::Internal);
    assert_eq!(classes(&["C l x 1; a x 1"]), [Class::Internal]);
    assert_eq!(classes(&["C r x 1; w x 1"]), [Class::Internal]);
}

#[test]
fn what_is_gone_at_the_end_is_lost() {
    assert_eq!(classes(&["C a x 1", "C a x 2", "E l x 2"]), [Class::Lost]);
    assert_eq!(classes(&["C a x 1", "? a x 2", "C l x 1,2", "E l x 1"]), [Class::Lost]);
    assert!(anomalies(&["C w x 1", "C r x 1; w x 2", "E r x 1"]).has(Class::Lost));
    checked(&["C a x 1", "? a x 2", "A a x 3", "E l x 1"]);
}

#[test]
#[should_panic(expected = "of no use")]
fn an_element_is_written_once() {
    drop(history(&["C a x 1", "C a x 1"]).check());
}

#[test]
fn a_counterexample_says_who_and_where_and_why() {
    let told = anomalies(&["C a x 1", "C l x 1; a x 2", "C l x 1; a x 3", "C l x 1,2"]).to_string();
    assert_eq!(
        told,
        "\
G-single (one anti-dependency):
  T3 (committed): read x [1]; append x 3
  T2 (committed): read x [1]; append x 2
  T3 -rw-> T2: at x T3 read 1, T2 wrote 2 after it
  T2 -ww-> T3: at x T3 wrote 3 after 2 of T2

"
    );
}

#[test]
fn a_recorder_writes_down_what_clients_do() {
    let recorder = Recorder::default();
    let (mut one, mut other) = (recorder.begin("one"), recorder.begin("other"));
    let element = recorder.fresh();
    one.append("x", element);
    one.read_list("x", vec![element]);
    other.write("r", recorder.fresh());
    other.read("r", Some(2));
    // Dropped: nobody knows.
    drop(other);
    one.end(handfast_tests::history::Fate::Committed);
    assert_eq!(recorder.history().transactions, {
        let mut expected = history(&["? w r 2; r r 2", "C a x 1; l x 1"]).transactions;
        expected[0].label = "other".to_owned();
        expected[1].label = "one".to_owned();
        expected
    });
}

#[test]
fn a_list_reads_back_from_its_text() {
    for list in [vec![], vec![7], vec![1, 2, 30]] {
        assert_eq!(text_to_list(&list_to_text(&list)), Ok(list));
    }
    assert!(text_to_list("1,,2").is_err() && text_to_list("1, 2").is_err() && text_to_list("x").is_err());
}
