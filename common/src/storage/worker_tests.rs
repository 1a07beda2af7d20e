//! Tests.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

/// Writes when it is told to, and tells what it wrote.
struct Slow {
    go: Receiver<Result<(), StorageError>>,
    /// What is "on disk", also after an error: the ambiguous case.
    disk: Arc<Mutex<Vec<u32>>>,
}

impl BatchWriter for Slow {
    type Item = u32;
    type Receipt = Vec<u32>;

    fn write(&mut self, items: Vec<u32>) -> Result<Vec<u32>, StorageError> {
        self.disk.lock().unwrap().extend(&items);
        self.go.recv().unwrap()?;
        Ok(items)
    }

    fn bytes(_: &u32) -> usize {
        10
    }
}

struct Rig {
    worker: Worker<Slow>,
    go: Sender<Result<(), StorageError>>,
    done: Receiver<Vec<u32>>,
    fatal: Receiver<StorageError>,
    disk: Arc<Mutex<Vec<u32>>>,
}

const SOON: Duration = Duration::from_secs(5);

fn rig(caps: Caps) -> Rig {
    let (go, wait) = channel();
    let (tell, done) = channel();
    let (tell_fatal, fatal) = channel();
    let disk = Arc::new(Mutex::new(Vec::new()));
    let writer = Slow { go: wait, disk: disk.clone() };
    let on_done = move |receipt| tell.send(receipt).unwrap();
    let on_fatal = move |error| tell_fatal.send(error).unwrap();
    let worker = Worker::spawn("test-log", writer, caps, on_done, on_fatal).unwrap();
    Rig { worker, go, done, fatal, disk }
}

fn broken() -> StorageError {
    StorageError::Io { file: "x".into(), doing: "sync", source: std::io::Error::other("EIO") }
}

/// Waits until the worker has taken the first item and is writing it.
fn writing(rig: &Rig) {
    while rig.disk.lock().unwrap().is_empty() {
        thread::yield_now();
    }
}

#[test]
fn a_batch_is_what_arrived_while_the_last_one_was_written() {
    let rig = rig(Caps::DEFAULTS);
    rig.worker.submit(0, Urgency::Force).unwrap();
    writing(&rig);
    for item in 1..=100 {
        rig.worker.submit(item, Urgency::Force).unwrap();
    }
    rig.go.send(Ok(())).unwrap();
    rig.go.send(Ok(())).unwrap();
    assert_eq!(rig.done.recv_timeout(SOON).unwrap(), [0]);
    assert_eq!(rig.done.recv_timeout(SOON).unwrap(), (1..=100).collect::<Vec<_>>());
    let counters = rig.worker.counters();
    assert_eq!((counters.batches(), counters.items(), counters.forces()), (2, 101, 2));
}

#[test]
fn riding_items_go_by_themselves_after_the_delay_and_with_the_next_force_at_once() {
    let rig = rig(Caps { ride_delay: Duration::from_millis(20), ..Caps::DEFAULTS });
    rig.go.send(Ok(())).unwrap();
    let begun = Instant::now();
    rig.worker.submit(1, Urgency::Ride).unwrap();
    assert_eq!(rig.done.recv_timeout(SOON).unwrap(), [1]);
    assert!(begun.elapsed() >= Duration::from_millis(20));
    assert_eq!(rig.worker.counters().forces(), 0);

    let slow = self::rig(Caps { ride_delay: Duration::from_secs(3_600), ..Caps::DEFAULTS });
    slow.go.send(Ok(())).unwrap();
    slow.worker.submit(1, Urgency::Ride).unwrap();
    slow.worker.submit(2, Urgency::Force).unwrap();
    assert_eq!(slow.done.recv_timeout(SOON).unwrap(), [1, 2]);
    assert_eq!(slow.worker.counters().forces(), 1);
}

#[test]
fn caps_cut_batches_and_keep_the_order() {
    let rig = rig(Caps { batch_items: 7, batch_bytes: 45, ..Caps::DEFAULTS });
    rig.worker.submit(0, Urgency::Force).unwrap();
    writing(&rig);
    for item in 1..=10 {
        // The last ones ride: they must not wait for ever behind a cut batch.
        rig.worker.submit(item, if item < 6 { Urgency::Force } else { Urgency::Ride }).unwrap();
    }
    for _ in 0..5 {
        rig.go.send(Ok(())).unwrap();
    }
    let batches: Vec<_> = (0..4).map(|_| rig.done.recv_timeout(SOON).unwrap()).collect();
    assert_eq!(batches, [vec![0], vec![1, 2, 3, 4], vec![5, 6, 7, 8], vec![9, 10]]);
    assert_eq!(rig.worker.counters().forces(), 3);
}

#[test]
fn a_full_queue_gives_the_item_back() {
    let rig = rig(Caps { queued_items: 2, ..Caps::DEFAULTS });
    rig.worker.submit(0, Urgency::Force).unwrap();
    writing(&rig);
    rig.worker.submit(1, Urgency::Force).unwrap();
    rig.worker.submit(2, Urgency::Force).unwrap();
    assert_eq!(rig.worker.submit(3, Urgency::Force), Err(Refused::Full(3)));
    rig.go.send(Ok(())).unwrap();
    rig.go.send(Ok(())).unwrap();
    assert_eq!(rig.done.iter().take(2).flatten().collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn shutdown_writes_what_is_queued() {
    let rig = rig(Caps { ride_delay: Duration::from_secs(3_600), ..Caps::DEFAULTS });
    rig.worker.submit(1, Urgency::Ride).unwrap();
    rig.worker.submit(2, Urgency::Ride).unwrap();
    rig.go.send(Ok(())).unwrap();
    let submitter = rig.worker.submitter();
    assert!(rig.worker.shutdown().is_some());
    assert_eq!(rig.done.try_recv().unwrap(), [1, 2]);
    assert_eq!(submitter.submit(3, Urgency::Force), Err(Refused::Ended(3)));
}

#[test]
fn f03_an_error_ends_the_worker_and_is_told_once() {
    let rig = rig(Caps::DEFAULTS);
    rig.worker.submit(1, Urgency::Force).unwrap();
    writing(&rig);
    rig.worker.submit(2, Urgency::Force).unwrap();
    rig.go.send(Err(broken())).unwrap();
    rig.go.send(Ok(())).unwrap();
    assert!(matches!(rig.fatal.recv_timeout(SOON), Ok(StorageError::Io { .. })));
    assert_eq!(rig.worker.submit(3, Urgency::Force), Err(Refused::Ended(3)));
    assert!(rig.worker.shutdown().is_none());
    assert!(rig.fatal.try_recv().is_err(), "once");
    assert!(rig.done.try_recv().is_err(), "nothing is reported after an error");
    assert_eq!(*rig.disk.lock().unwrap(), [1], "nothing is written after an error");
}

#[test]
fn f04_no_receipt_for_bytes_that_are_there_when_the_write_failed() {
    let rig = rig(Caps::DEFAULTS);
    rig.worker.submit(7, Urgency::Force).unwrap();
    rig.go.send(Err(broken())).unwrap();
    assert!(rig.fatal.recv_timeout(SOON).is_ok());
    assert_eq!(*rig.disk.lock().unwrap(), [7], "the bytes are durable");
    assert!(rig.done.recv_timeout(Duration::from_millis(50)).is_err(), "and nobody is told");
    assert_eq!(rig.worker.counters().batches(), 0);
}

#[test]
fn f03_a_panic_of_the_writer_is_an_error_too() {
    struct Panics;
    impl BatchWriter for Panics {
        type Item = ();
        type Receipt = ();
        fn write(&mut self, _: Vec<()>) -> Result<(), StorageError> {
            panic!("damaged page")
        }
        fn bytes((): &()) -> usize {
            0
        }
    }
    let (tell, fatal) = channel();
    let on_fatal = move |error: StorageError| tell.send(error.to_string()).unwrap();
    let worker = Worker::spawn("panics", Panics, Caps::DEFAULTS, |()| (), on_fatal).unwrap();
    worker.submit((), Urgency::Force).unwrap();
    assert!(fatal.recv_timeout(SOON).unwrap().contains("damaged page"));
    assert!(worker.shutdown().is_none());
}
