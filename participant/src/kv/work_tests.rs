//! Tests.

use std::convert::Infallible;

use super::*;
use crate::kv::testing::{add, add_within, check, delete, get, int, put, reads, text};

/// Carries out operations over `a` = 10, `b` = "text" and nothing else.
fn run(operations: &[Operation]) -> Result<Executed, Reason> {
    let committed = |key: &str| -> Result<Option<Value>, Infallible> {
        Ok(match key {
            "a" => Some(int(10)),
            "b" => Some(text("text")),
            _ => None,
        })
    };
    execute(operations, committed).map_err(|stopped| match stopped {
        Stopped::Refused(reason) => reason,
        Stopped::Failed(never) => match never {},
    })
}

fn refused(operations: &[Operation]) -> (ReasonKind, String) {
    let reason = run(operations).unwrap_err();
    (reason.kind, reason.detail)
}

#[test]
fn operations_see_the_writes_before_them() {
    let operations = [
        get("a"),
        add("a", 5),
        get("a"),
        delete("a"),
        get("a"),
        add("a", 3),
        put("b", int(1)),
        add("b", 1),
        get("b"),
        check("a", Check { equals: Some(int(3)), ..Check::default() }),
    ];
    let done = run(&operations).unwrap();
    let seen = [("a", Some(int(10))), ("a", Some(int(15))), ("a", None), ("b", Some(int(2)))];
    assert_eq!(reads(&done.reads), seen.map(|(key, value)| (key.to_owned(), value)));
    let writes = [("a".to_owned(), Some(int(3))), ("b".to_owned(), Some(int(2)))];
    assert_eq!(done.writes, BTreeMap::from(writes));
}

#[test]
fn add_counts_from_zero_and_refuses_overflow_strings_and_what_leaves_its_bounds() {
    assert_eq!(run(&[add("new", -4)]).unwrap().writes["new"], Some(int(-4)));
    assert_eq!(run(&[add_within("a", -10, 0, 10)]).unwrap().writes["a"], Some(int(0)));
    let (kind, detail) = refused(&[add("a", i64::MAX)]);
    assert!(kind == ReasonKind::BadWork && detail.contains("'a'") && detail.contains("overflow"), "{detail}");
    let (kind, detail) = refused(&[add("b", 1)]);
    assert!(kind == ReasonKind::BadWork && detail.contains("'b'") && detail.contains("string"), "{detail}");
    let (kind, detail) = refused(&[add_within("a", -11, 0, 100)]);
    assert!(kind == ReasonKind::CheckFailed && detail.contains("'a'") && detail.contains("min 0"), "{detail}");
    let (kind, detail) = refused(&[add_within("a", 91, 0, 100)]);
    assert!(kind == ReasonKind::CheckFailed && detail.contains("'a'") && detail.contains("max 100"), "{detail}");
}

#[test]
fn check_holds_or_votes_no_naming_key_and_bound() {
    let on = |key: &str, condition: Check| run(&[check(key, condition)]).map(drop);
    let yes = [
        ("a", Check { equals: Some(int(10)), ..Check::default() }),
        ("a", Check { exists: true, min: Some(10), max: Some(10), ..Check::default() }),
        ("b", Check { equals: Some(text("text")), ..Check::default() }),
        ("c", Check { absent: true, ..Check::default() }),
    ];
    for (key, condition) in yes {
        assert_eq!(on(key, condition.clone()), Ok(()), "{key} {condition:?}");
    }
    let no = [
        ("a", Check { equals: Some(int(11)), ..Check::default() }, "not what it must be"),
        ("c", Check { equals: Some(int(0)), ..Check::default() }, "not what it must be"),
        ("c", Check { exists: true, ..Check::default() }, "no value"),
        ("a", Check { absent: true, ..Check::default() }, "has a value"),
        ("a", Check { min: Some(11), ..Check::default() }, "min 11"),
        ("a", Check { max: Some(9), ..Check::default() }, "max 9"),
        ("b", Check { min: Some(0), ..Check::default() }, "string"),
        ("c", Check { max: Some(9), ..Check::default() }, "no value"),
    ];
    for (key, condition, why) in no {
        let reason = on(key, condition.clone()).unwrap_err();
        assert_eq!(reason.kind, ReasonKind::CheckFailed);
        assert!(reason.detail.contains(&format!("'{key}'")) && reason.detail.contains(why), "{condition:?}: {reason}");
    }
}

#[test]
fn reads_that_would_not_fit_a_message_are_refused_as_they_grow() {
    let large = |_: &str| -> Result<_, Infallible> { Ok(Some(text(&"x".repeat(64 << 10)))) };
    let gets: Vec<Operation> = (0..17).map(|n| get(&n.to_string())).collect();
    assert!(execute(&gets[..15], large).is_ok());
    let Err(Stopped::Refused(reason)) = execute(&gets, large) else { panic!("must be refused") };
    assert_eq!(reason.kind, ReasonKind::BadWork);
}

#[test]
fn locks_are_taken_in_order_of_key_and_at_once_in_the_stronger_mode() {
    let operations = [get("b"), put("a", int(1)), add("b", 1), get("c"), get("a")];
    let locks: Vec<_> = locks_of(&operations).into_iter().collect();
    assert_eq!(locks, [("a", Mode::Exclusive), ("b", Mode::Exclusive), ("c", Mode::Shared)]);
}

#[test]
fn work_that_is_none_is_bad_work() {
    let many: Vec<Operation> = (0..1_001).map(|n| get(&n.to_string())).collect();
    let payloads = [
        Payload(vec![]),
        Payload(vec![1, 2, 3]),
        encode_operations(&[]).unwrap(),
        encode_operations(&[get("")]).unwrap(),
        encode_operations(&many).unwrap(),
        Payload(vec![1; MAX_TRANSACTION_BYTES + 1]),
    ];
    for payload in payloads {
        assert_eq!(decode_operations(&payload).unwrap_err().kind, ReasonKind::BadWork);
    }
    let good = [get("a"), delete("b")];
    assert_eq!(decode_operations(&encode_operations(&good).unwrap()).unwrap(), good);
}
