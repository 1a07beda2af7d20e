//! Servers as child processes: what the demo runs, and what process tests are made of.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long a start may take: recovery verifies the whole file.
const START: Duration = Duration::from_secs(60);

/// How to start a server, again and again.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// The program: `handfast`.
    pub program: PathBuf,
    /// `coordinator` or `participant`.
    pub role: &'static str,
    /// Its name.
    pub name: String,
    /// Its data folder.
    pub data: PathBuf,
    /// Where it listens; `127.0.0.1:0` takes a free port, which later starts keep.
    pub listen: String,
    /// More arguments.
    pub arguments: Vec<String>,
    /// Where its stderr goes; each start appends.
    pub log: PathBuf,
}

/// A server and its process, while there is one. Dropping it kills the process.
#[derive(Debug)]
pub struct Node {
    spec: NodeSpec,
    child: Option<Child>,
    /// When the last ready line was read.
    ready: Option<Instant>,
    /// What its next starts have in their environment beside what this process has.
    environment: Vec<(String, String)>,
}

impl Node {
    /// A server that has not been started.
    #[must_use]
    pub fn new(spec: NodeSpec) -> Self {
        Self { spec, child: None, ready: None, environment: Vec::new() }
    }

    /// Holds the place of a node that is elsewhere for a moment.
    #[must_use]
    pub fn vacant() -> Self {
        Self::new(NodeSpec {
            program: PathBuf::new(),
            role: "",
            name: String::new(),
            data: PathBuf::new(),
            listen: String::new(),
            arguments: Vec::new(),
            log: PathBuf::new(),
        })
    }

    /// Starts it and waits for its ready line.
    ///
    /// # Errors
    /// When it can't be started, ends before it is ready (with its last words), or takes longer than a minute.
    pub fn start(&mut self) -> io::Result<()> {
        let log = File::options().create(true).append(true).open(&self.spec.log)?;
        let mut child = Command::new(&self.spec.program)
            .arg(self.spec.role)
            .args(["--name", &self.spec.name, "--listen", &self.spec.listen, "--data"])
            .arg(&self.spec.data)
            .args(&self.spec.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let Some(stdout) = child.stdout.take() else { return Err(io::Error::other("no pipe to its stdout")) };
        self.child = Some(child);
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { return };
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        let Ok(line) = told.recv_timeout(START) else {
            let status = self.kill()?;
            let words = last_words(&self.spec.log);
            return Err(io::Error::other(format!("{} is not ready ({status}): {words}", self.spec.name)));
        };
        self.ready = Some(Instant::now());
        self.spec.listen = address_of(&line)
            .ok_or_else(|| io::Error::other(format!("{} said '{line}' instead of ready", self.spec.name)))?;
        Ok(())
    }

    /// Ends the process by SIGKILL, if there is one, and waits until it is gone.
    ///
    /// # Errors
    /// The system's.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        let Some(mut child) = self.child.take() else { return Err(io::Error::other("it does not run")) };
        child.kill()?;
        child.wait()
    }

    /// Waits until the process ends by itself.
    ///
    /// # Errors
    /// When it is still there after `within`; it goes on running then.
    pub fn wait_exit(&mut self, within: Duration) -> io::Result<ExitStatus> {
        let latest = Instant::now() + within;
        loop {
            let Some(child) = self.child.as_mut() else { return Err(io::Error::other("it does not run")) };
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Ok(status);
            }
            if Instant::now() >= latest {
                return Err(io::Error::new(io::ErrorKind::TimedOut, format!("{} has not ended", self.spec.name)));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Where it listens, once it was ready for the first time.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.spec.listen
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// `coordinator` or `participant`.
    #[must_use]
    pub fn role(&self) -> &'static str {
        self.spec.role
    }

    /// Its data folder.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.spec.data
    }

    /// Gives later starts more arguments.
    pub fn add_arguments(&mut self, arguments: &[&str]) {
        self.spec.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    }

    /// Gives later starts this environment, and no longer the one given before.
    pub fn set_environment(&mut self, environment: &[(&str, &str)]) {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        self.environment = environment.iter().map(owned).collect();
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// When it was last ready.
    #[must_use]
    pub fn ready_since(&self) -> Option<Instant> {
        self.ready
    }

    /// What it has written to stderr, over all starts.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.spec.log).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may be gone already; there is nobody left to tell.
        drop(self.kill());
    }
}

/// The address in `ready coordinator NAME HOST:PORT epoch=N` or `ready participant NAME HOST:PORT`.
fn address_of(line: &str) -> Option<String> {
    let mut words = line.split(' ');
    (words.next() == Some("ready")).then_some(())?;
    words.nth(2).map(str::to_owned)
}

fn last_words(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use super::address_of;

    #[test]
    fn ready_lines_are_understood() {
        let coordinator = address_of("ready coordinator main 127.0.0.1:7117 epoch=3");
        assert_eq!(coordinator.as_deref(), Some("127.0.0.1:7117"));
        assert_eq!(address_of("ready participant a 127.0.0.1:9").as_deref(), Some("127.0.0.1:9"));
        assert_eq!(address_of("error: something"), None);
    }
}
