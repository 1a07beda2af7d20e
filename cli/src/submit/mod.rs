//! `handfast submit`: one transaction per input line, one outcome per output line.

mod input;
mod resume;
mod run;

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use uuid::Uuid;

use crate::client::ClientArgs;
use crate::errors::{Failure, exit};
use input::{Asked, Columns};
use resume::{Earlier, Output, RunId};
use run::Run;

/// Lines read ahead of those under way.
const READ_AHEAD: usize = 1_024;
/// How long the first coordinator to answer is waited for: a wrong address should not take the whole deadline to tell.
const FIRST_CONTACT: Duration = Duration::from_secs(5);

/// Submits transactions.
#[derive(Args, Clone, Debug)]
pub(crate) struct SubmitArgs {
    /// Where to read from; - is stdin.
    #[arg(long, default_value = "-")]
    file: PathBuf,
    /// What a line is.
    #[arg(long, value_enum, default_value_t = LineFormat::Json)]
    format: LineFormat,
    /// Transactions under way at a time.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    concurrency: u32,
    /// An earlier output: lines it answers are skipped, those sent without an answer are asked for first. New outcome
    /// lines are appended to it as well.
    #[arg(long, value_name = "OUT")]
    resume: Option<PathBuf>,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum LineFormat {
    /// One JSON object a line.
    Json,
    /// CSV with the header from,to,amount[,key].
    Transfers,
}

pub(crate) fn run(args: &SubmitArgs) -> Result<u8, Failure> {
    let unreadable = |error: io::Error| {
        Failure::new("HF0505", exit::OTHER, format!("can't read {}", args.file.display()), error.to_string())
    };
    let reader: Box<dyn BufRead + Send> = if args.file.as_os_str() == "-" {
        Box::new(BufReader::new(io::stdin()))
    } else {
        Box::new(BufReader::new(File::open(&args.file).map_err(unreadable)?))
    };
    let (earlier, mut output) = match &args.resume {
        Some(out) => open_earlier(out)?,
        None => (Earlier::default(), Output::stdout()),
    };
    let client = args.client.client()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::other)?;
    let ticket = runtime
        .block_on(client.standing(None, args.client.deadline().min(FIRST_CONTACT)))
        .map_err(|error| Failure::client(&error))?;
    let id = RunId { id: Uuid::new_v4(), ticket, concurrency: args.concurrency };
    output.begin(&id).map_err(Failure::other)?;
    let run = Rc::new(Run::new(client, args.client.deadline(), earlier, (id, output), progress()));
    let began = Instant::now();
    LocalSet::new().block_on(&runtime, submit_all(Rc::clone(&run), reader, args));
    // The reader may be waiting for a line that never comes.
    runtime.shutdown_background();
    run.summary(began.elapsed())
}

/// An earlier output, and where to go on writing it. One that is missing is a mistake: an empty one would mean that
/// nothing has been sent, and everything would be sent again.
fn open_earlier(out: &Path) -> Result<(Earlier, Output), Failure> {
    let unusable = |error: io::Error| {
        let what = format!("can't go on from {}", out.display());
        Failure::new("HF0505", exit::OTHER, what, error.to_string())
    };
    let earlier = Earlier::read(out).map_err(unusable)?;
    if earlier.runs.is_empty() {
        let why = "it names no run: it is not the output of an earlier submit".to_owned();
        return Err(Failure::new("HF0506", exit::CONFLICT, format!("can't go on from {}", out.display()), why));
    }
    Ok((earlier, Output::appending_to(out).map_err(unusable)?))
}

/// A line of input, or why it could not be read.
type Line = (u64, Result<Asked, String>);

async fn submit_all(run: Rc<Run>, reader: Box<dyn BufRead + Send>, args: &SubmitArgs) {
    let (sender, receiver) = mpsc::channel::<Line>(READ_AHEAD);
    let format = args.format;
    std::thread::spawn(move || read_lines(reader, format, &sender));
    let receiver = Rc::new(tokio::sync::Mutex::new(receiver));
    let interrupted = {
        let run = Rc::clone(&run);
        tokio::task::spawn_local(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                run.stop("interrupted: finishing what is under way");
            }
        })
    };
    let workers: Vec<_> = (0..args.concurrency)
        .map(|_| {
            let (run, receiver) = (Rc::clone(&run), Rc::clone(&receiver));
            tokio::task::spawn_local(async move {
                while !run.is_stopping() {
                    let next = async { receiver.lock().await.recv().await };
                    let next = tokio::select! {
                        biased;
                        () = run.stopped() => None,
                        next = next => next,
                    };
                    let Some((line, asked)) = next else { return };
                    run.line(line, asked).await;
                }
            })
        })
        .collect();
    for worker in workers {
        // A worker ends by itself; if it broke down, its line has no answer and the summary says so.
        if let Err(error) = worker.await {
            run.stop(&format!("a worker broke down: {error}"));
        }
    }
    interrupted.abort();
}

/// Reads, parses and numbers lines, from 1; a CSV header is no line. Empty lines are passed over.
fn read_lines(reader: Box<dyn BufRead + Send>, format: LineFormat, sender: &mpsc::Sender<Line>) {
    let mut number = 0;
    let mut columns: Option<Columns> = None;
    for bytes in reader.split(b'\n') {
        let text = match bytes.map(String::from_utf8) {
            Ok(Ok(text)) => text,
            Ok(Err(_)) => {
                number += 1;
                if sender.blocking_send((number, Err("it is not UTF-8".to_owned()))).is_err() {
                    return;
                }
                continue;
            }
            Err(error) => {
                drop(sender.blocking_send((number + 1, Err(format!("it can't be read: {error}")))));
                return;
            }
        };
        if text.trim().is_empty() {
            number += u64::from(format == LineFormat::Json);
            continue;
        }
        let asked = match (format, columns) {
            (LineFormat::Json, _) => input::json(&text),
            (LineFormat::Transfers, Some(columns)) => columns.transfer(&text),
            (LineFormat::Transfers, None) => match Columns::read(&text) {
                Ok(read) => {
                    columns = Some(read);
                    continue;
                }
                Err(why) => {
                    drop(sender.blocking_send((0, Err(why))));
                    return;
                }
            },
        };
        number += 1;
        if sender.blocking_send((number, asked)).is_err() {
            return;
        }
    }
}

fn progress() -> Option<ProgressBar> {
    let bar = io::stderr().is_terminal().then(ProgressBar::new_spinner)?;
    bar.set_style(ProgressStyle::with_template("{spinner} {pos} lines, {msg}").ok()?);
    Some(bar)
}
