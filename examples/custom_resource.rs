//! A store of your own as a resource manager: files in a folder. One transaction writes a file into each of two folders:
//! either both files are there, or neither, whatever crashes in between.
//!
//! A file is tried by writing it under another name, confirmed by renaming it, cancelled by removing it. All that has to
//! be remembered for that over a crash, the prepare log remembers. Here all runs in one program; in earnest the coordinator
//! is a process of its own (`handfast coordinator`), and so is each participant.

use std::fs::{self, File};
use std::{future::pending, io, io::ErrorKind, io::Write, path::Path, path::PathBuf, time::Duration};

use handfast_client::{Client, Options, Transaction};
use handfast_common::ids::Name;
use handfast_common::outcome::{Payload, Reason, ReasonKind};
use handfast_participant::logged::{Branch, LoggedResource, Piece, Tried, TryConfirmCancel};
use handfast_participant::server::{Options as Server, Participants};

struct Files(PathBuf);

impl Files {
    /// A piece of work is a file's name, a line feed, and its content.
    fn parts(piece: &Piece) -> (String, Vec<u8>) {
        let at = piece.work.0.iter().position(|byte| *byte == b'\n').unwrap_or(piece.work.0.len());
        let (name, rest) = piece.work.0.split_at(at);
        (String::from_utf8_lossy(name).replace('/', "_"), rest.get(1..).unwrap_or_default().to_vec())
    }

    fn tried(&self, piece: &Piece) -> PathBuf {
        self.0.join(format!("{}.{piece}.tried", Self::parts(piece).0))
    }

    fn write(&self, piece: &Piece) -> io::Result<()> {
        let (name, content) = Self::parts(piece);
        // Reserved by another branch, or by an earlier piece of this one: whoever is confirmed later would win.
        let taken = |file: &str| file.starts_with(&format!("{name}.")) && file.ends_with(".tried");
        // What can't be read counts as taken.
        if fs::read_dir(&self.0)?.any(|file| file.map_or(true, |it| taken(&it.file_name().to_string_lossy()))) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let mut file = File::create(self.tried(piece))?;
        file.write_all(&content)?;
        file.sync_all()?;
        File::open(&self.0)?.sync_all()
    }

    /// Ends all pieces. Those whose file is not there have ended before, or were never tried.
    fn each(&self, branch: &Branch, act: impl Fn(&Piece) -> io::Result<()>) -> Result<(), String> {
        let failed = |done: &io::Result<()>| done.as_ref().is_err_and(|error| error.kind() != ErrorKind::NotFound);
        let done = branch.pieces.iter().map(act).find(failed).unwrap_or(Ok(()));
        done.and_then(|()| File::open(&self.0)?.sync_all()).map_err(|error| error.to_string())
    }
}

impl TryConfirmCancel for Files {
    async fn try_work(&self, piece: &Piece) -> Result<Tried, Reason> {
        let tried = self.write(piece).map(|()| Tried::changed(Payload::default()));
        tried.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => Reason::new(ReasonKind::Conflict, "another transaction writes this file"),
            _ => Reason::new(ReasonKind::BadWork, error.to_string()),
        })
    }

    async fn confirm(&self, branch: &Branch) -> Result<(), String> {
        self.each(branch, |piece| fs::rename(self.tried(piece), self.0.join(Self::parts(piece).0)))
    }

    async fn cancel(&self, branch: &Branch) -> Result<(), String> {
        self.each(branch, |piece| fs::remove_file(self.tried(piece)))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let coordinator = handfast_examples::start_coordinator(place.path())?.to_string();
    let (mut participants, mut both) = (Participants::new(), Transaction::new());
    for folder in ["left", "right"] {
        let (name, files) = (Name::new(folder)?, place.path().join(folder));
        fs::create_dir(&files)?;
        let mut server = Server::new(place.path().join(format!("{folder}.log")), name.clone(), "127.0.0.1:0");
        server.coordinators = vec![coordinator.clone()];
        participants = participants.with(server, async |start| LoggedResource::open(start, Files(files)).await);
        both = both.work(name, Payload(b"greeting\nhello".to_vec()));
    }
    tokio::select! {
        done = write(Client::connect(Options::new([coordinator]))?, both, place.path()) => done,
        ended = participants.run(|ready| println!("{} is ready", ready.name), pending()) => Ok(ended?),
    }
}

async fn write(client: Client, both: Transaction, place: &Path) -> anyhow::Result<()> {
    // Participants make themselves known within moments of their start; until then nothing is begun.
    while !client.submit(both.clone(), Duration::from_secs(10)).await.is_ok_and(|report| report.is_committed()) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Decided: from here on both files come, and nothing can take them back.
    while !["left", "right"].iter().all(|folder| place.join(folder).join("greeting").exists()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("greeting is in both folders");
    Ok(())
}
