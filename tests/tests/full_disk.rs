//! A disk that fills up under a participant and under the coordinator, for real: a small file system of its own. It
//! needs the right to mount one, as root has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use handfast_tests::processes::{System, spread_transfer, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_handfast-under-test");

/// A file system in memory, gone with this value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: &Path, mebibytes: u32) -> Self {
        fs::create_dir_all(path).expect("a folder");
        let size = format!("size={mebibytes}m");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "handfast-test"]).arg(path).status();
        assert!(status.is_ok_and(|status| status.success()), "this test mounts a tmpfs: run it as root");
        Self(path.to_owned())
    }

    /// Fills it but for so many mebibytes.
    fn fill(&self, leave: u64) {
        let stat = rustix::fs::statvfs(&self.0).expect("a file system");
        let free = stat.f_bavail * stat.f_frsize;
        let take = usize::try_from(free.saturating_sub(leave << 20)).expect("a small disk");
        fs::write(self.0.join("filler"), vec![1u8; take]).expect("it fits");
    }

    fn empty(&self) {
        fs::remove_file(self.0.join("filler")).expect("it was there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Busy only if a process outlived its test.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn t16_below_the_reserve_votes_are_no_phase_two_goes_on_and_service_resumes_by_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = SmallDisk::mount(&folder.path().join("p1"), 256);
    let system = System::start_in(folder, PROGRAM, 2);
    let line = |number: usize| vec![spread_transfer(number, "p0", "p1")];
    let outcome = |number: usize| system.submit(&line(number)).remove(0);
    assert_eq!(outcome(1)["outcome"], "committed");

    disk.fill(32);
    let mut number = 1;
    wait_until("new work is refused", Duration::from_secs(10), || {
        number += 1;
        let answer =
            system.run(&["submit", "--deadline", "300", "--file", &write_line(&system, &line(number)[0])]).stdout;
        let answer = String::from_utf8_lossy(&answer).to_lowercase();
        assert!(!answer.contains("unknown"), "{answer}\n{}", system.logs());
        answer.contains("aborted") && answer.contains("disk full")
    });
    assert!(system.participants.iter().all(|node| system.in_doubt(node).is_empty()), "phase two goes on");

    disk.empty();
    wait_until("service resumes by itself", Duration::from_secs(10), || {
        number += 1;
        outcome(number)["outcome"] == "committed"
    });
    drop(system);
    drop(disk);
}

#[test]
fn a_coordinator_below_its_reserve_refuses_new_work_and_resumes_by_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = SmallDisk::mount(&folder.path().join("coordinator"), 256);
    let system = System::start_in(folder, PROGRAM, 2);
    disk.fill(32);
    let refused = |number: usize| {
        let path = write_line(&system, &spread_transfer(number, "p0", "p1"));
        let output = system.run(&["submit", "--deadline", "300", "--file", &path]);
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&said).to_lowercase().contains("disk")
    };
    let mut number = 0;
    wait_until("new work is refused", Duration::from_secs(10), || {
        number += 1;
        refused(number)
    });
    disk.empty();
    wait_until("service resumes by itself", Duration::from_secs(10), || {
        number += 1;
        system.submit(&[spread_transfer(number, "p0", "p1")])[0]["outcome"] == "committed"
    });
    drop(system);
    drop(disk);
}

fn write_line(system: &System, line: &str) -> String {
    let path = system.folder().join("one-line.json");
    fs::write(&path, format!("{line}\n")).expect("a file");
    path.to_string_lossy().into_owned()
}
