//! Tests.

use super::*;

fn page(rig: &Rig, prefix: &str, after: Option<&str>) -> (Vec<ValueLine>, bool) {
    let question = AskValues { select: Select::Prefix(prefix.into()), after: after.map(str::to_owned) };
    let page = rig.engine.values(&question).unwrap();
    (page.lines, page.more)
}

fn row(key: &str, value: Option<Value>, locked_by: Option<u64>) -> ValueLine {
    ValueLine { key: key.into(), value, locked_by: locked_by.map(txn) }
}

#[test]
fn a04_a_page_has_what_is_decided_and_names_who_holds_the_rest() {
    let mut rig = Rig::with(&[("k1", int(1)), ("k2", int(2)), ("k4", int(4)), ("l", int(9))]);
    for (n, operations) in [(1, [delete("k1"), put("k3", int(3))]), (2, [add("k4", 1), put("k5", int(5))])] {
        rig.prepare(n, &operations);
    }
    rig.flush();
    rig.commit(1);
    // Not in doubt yet, so nobody was told anything of it.
    rig.prepare(3, &[put("k6", int(6))]);
    let rows = [
        row("k2", Some(int(2)), None),
        row("k3", Some(int(3)), None),
        row("k4", Some(int(4)), Some(2)),
        row("k5", None, Some(2)),
    ];
    assert_eq!(page(&rig, "k", None), (rows.to_vec(), false));
    assert_eq!(page(&rig, "k", Some("k3")), (rows[2..].to_vec(), false));
    assert_eq!(page(&rig, "k", Some("k5")), (vec![], false));
    assert_eq!(page(&rig, "", Some("a")).0.len(), 5);
    assert_eq!(page(&rig, "x", None), (vec![], false));
    assert_eq!(rig.value("k1"), row("k1", None, None));
    assert_eq!(rig.value("k5"), row("k5", None, Some(2)));
    rig.flush();
    assert_eq!(page(&rig, "k", None).0[..4], rows, "the same from the disk");
}

#[test]
fn pages_end_by_lines_and_by_bytes_and_go_on_where_they_ended() {
    let mut rig = Rig::new();
    for n in 0..1_500 {
        rig.disk.borrow_mut().values.insert(format!("s{n:04}"), int(n));
    }
    for n in 0..20 {
        rig.disk.borrow_mut().values.insert(format!("t{n:02}"), text(&"x".repeat(64 << 10)));
    }
    rig.engine.durable(0).unwrap();
    for (prefix, count, pages) in [("s", 1_500, 2), ("t", 20, 3)] {
        let (mut rows, mut after, mut asked) = (0, None::<String>, 0);
        loop {
            let (lines, more) = page(&rig, prefix, after.as_deref());
            assert!(lines.len() <= MAX_PAGE && !lines.is_empty());
            assert!(after < lines.first().map(|line| line.key.clone()));
            (rows, asked) = (rows + lines.len(), asked + 1);
            after = lines.last().map(|line| line.key.clone());
            if !more {
                break;
            }
        }
        assert_eq!((rows, asked), (count, pages), "{prefix}");
    }
}

use handfast_common::limits::MAX_PAGE;
