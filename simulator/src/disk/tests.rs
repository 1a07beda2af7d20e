//! The disk loses what it says, and nothing that was synced.

use super::*;

fn bytes(disk: &Disk) -> Vec<u8> {
    let file = disk.content().file;
    let mut out = vec![0; usize::try_from(file.len()).unwrap()];
    file.read(0, &mut out).unwrap();
    out
}

/// Ten bytes of 1 synced, then a growth to 40 and writes of 2 and 3 that are not.
fn written() -> Disk {
    let disk = Disk::default();
    disk.set_len(10).unwrap();
    disk.write(0, &[1; 10]).unwrap();
    disk.sync_data().unwrap();
    disk.set_len(40).unwrap();
    disk.write(5, &[2; 10]).unwrap();
    disk.write(20, &[3; 10]).unwrap();
    disk
}

#[test]
fn what_was_synced_survives_every_loss_and_the_rest_as_it_says() {
    let left = |loss| {
        let disk = written();
        disk.lose(loss);
        bytes(&disk)
    };
    assert_eq!(left(Loss::Nothing), [1; 10]);
    assert_eq!(left(Loss::Everything), bytes(&written()));
    assert_eq!(left(Loss::FirstHalf), [&[1; 10][..], &[0; 30]].concat());
    assert_eq!(left(Loss::LastHalf), [&[1; 5][..], &[2; 5]].concat(), "the growth is lost, and what lies behind it");
    assert_eq!(left(Loss::LengthLost), [&[1; 5][..], &[2; 5]].concat());
    for seed in 0..200 {
        for loss in [Loss::Prefix(seed), Loss::Subset(seed), Loss::Sectors(seed), Loss::Torn(seed)] {
            let left = left(loss);
            assert_eq!(left[..5], [1; 5], "{loss:?}");
            assert!(left.len() == 10 || left.len() == 40, "{loss:?}");
        }
    }
    let torn: std::collections::BTreeSet<_> = (0..200).map(|seed| left(Loss::Torn(seed))).collect();
    assert!(torn.len() > 15, "torn at {} places only", torn.len());
}

#[test]
fn trouble_comes_at_its_operation_and_only_once() {
    for at in 1..=6 {
        let disk = Disk::default();
        disk.plan(at, Trouble::Full);
        let done = [
            disk.set_len(10).is_ok(),
            disk.write(0, &[1; 10]).is_ok(),
            disk.sync_data().is_ok(),
            disk.write(5, &[2; 10]).is_ok(),
            disk.hint().save(&[1]).is_ok(),
            disk.sync_data().is_ok(),
        ];
        let failed: Vec<_> =
            done.iter().enumerate().filter(|(_, ok)| !**ok).map(|(number, _)| number as u64 + 1).collect();
        assert_eq!(failed, [at]);
        assert_eq!(disk.struck(), Some(Trouble::Full));
    }
}

#[test]
fn after_the_power_went_nothing_works_until_it_is_back() {
    let disk = written();
    disk.plan(disk.operations() + 1, Trouble::PowerLoss(Loss::Nothing));
    assert!(disk.sync_data().is_err() && disk.write(0, &[9]).is_err() && disk.read(0, &mut [0]).is_err());
    assert!(disk.hint().save(&[9]).is_err());
    disk.lose(Loss::Nothing);
    disk.power_on();
    assert_eq!(bytes(&disk), [1; 10]);
    assert_eq!(disk.struck(), None);
}

#[test]
fn a_kill_leaves_what_was_written_and_a_later_power_loss_takes_it() {
    let disk = written();
    let before = bytes(&disk);
    disk.plan(disk.operations() + 1, Trouble::Kill);
    assert!(disk.sync_data().is_err());
    disk.power_on();
    assert_eq!(bytes(&disk), before);
    disk.lose(Loss::Nothing);
    assert_eq!(bytes(&disk), [1; 10]);
}

#[test]
fn a_hint_may_be_old_after_a_power_loss_and_never_is_after_a_kill() {
    let disk = Disk::with(Content { file: Image::default(), hint: vec![0] });
    disk.hint().save(&[1]).unwrap();
    disk.hint().save(&[2]).unwrap();
    assert_eq!(disk.content().hint, [2]);
    let found: std::collections::BTreeSet<_> = (0..50)
        .map(|seed| {
            let copy = Disk::with(Content { file: Image::default(), hint: vec![0] });
            copy.hint().save(&[1]).unwrap();
            copy.hint().save(&[2]).unwrap();
            copy.lose(Loss::Subset(seed));
            copy.content().hint
        })
        .collect();
    assert_eq!(found.len(), 3);
}
