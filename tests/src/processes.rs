//! A coordinator and its participants as processes, and the command run against them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use handfast::nodes::{Node, NodeSpec};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// A running system. Everything of it ends with this value.
#[derive(Debug)]
pub struct System {
    program: PathBuf,
    folder: TempDir,
    /// The coordinator.
    pub coordinator: Node,
    /// The participants `p0`, `p1` and so on.
    pub participants: Vec<Node>,
}

impl System {
    /// Starts a coordinator and participants, all by default, in a temporary folder, and waits until a transaction
    /// over all of them commits.
    ///
    /// # Panics
    /// When any of it does not come up.
    #[must_use]
    pub fn start(program: &str, participants: usize) -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder"), program, participants)
    }

    /// The same in a folder of the caller's: on a disk of its own, say.
    ///
    /// # Panics
    /// When any of it does not come up.
    #[must_use]
    pub fn start_in(folder: TempDir, program: &str, participants: usize) -> Self {
        Self::start_with(folder, program, participants, &[])
    }

    /// The same with more arguments for the coordinator.
    ///
    /// # Panics
    /// When any of it does not come up.
    #[must_use]
    pub fn start_with(folder: TempDir, program: &str, participants: usize, arguments: &[String]) -> Self {
        let known = |coordinator: &Node, _| vec!["--coordinator".to_owned(), coordinator.address().to_owned()];
        Self::start_each(folder, program, participants, arguments, known, |_| ())
    }

    /// The same with arguments for each participant, which may need the coordinator's address; each server is shown
    /// when it is ready.
    ///
    /// # Panics
    /// When any of it does not come up.
    #[must_use]
    pub fn start_each(
        folder: TempDir,
        program: &str,
        participants: usize,
        arguments: &[String],
        of_participant: impl Fn(&Node, usize) -> Vec<String>,
        ready: impl Fn(&Node),
    ) -> Self {
        let program = PathBuf::from(program);
        let mut coordinator = Node::new(spec(&program, folder.path(), "coordinator", "coordinator", arguments));
        coordinator.start().expect("the coordinator starts");
        ready(&coordinator);
        let participants = (0..participants)
            .map(|number| {
                let arguments = of_participant(&coordinator, number);
                let spec = spec(&program, folder.path(), "participant", &format!("p{number}"), &arguments);
                let mut node = Node::new(spec);
                node.start().expect("a participant starts");
                ready(&node);
                node
            })
            .collect();
        let system = Self { program, folder, coordinator, participants };
        system.wait_until_usable();
        system
    }

    /// Waits until a transaction over all participants commits.
    ///
    /// # Panics
    /// When none does within 20 seconds.
    pub fn wait_until_usable(&self) {
        let branches: Vec<String> = self
            .participants
            .iter()
            .map(|node| format!(r#"{{"participant":"{}","ops":[{{"put":{{"key":"ready","value":1}}}}]}}"#, node.name()))
            .collect();
        let line = format!(r#"{{"branches":[{}]}}"#, branches.join(","));
        let latest = Instant::now() + Duration::from_secs(20);
        loop {
            let answers = self.submit(std::slice::from_ref(&line));
            if answers.first().is_some_and(|answer| answer["outcome"] == "committed") {
                return;
            }
            assert!(Instant::now() < latest, "the system is not usable: {answers:?}\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Where everything is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The command with `--coordinator` set.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("HANDFAST_COORDINATOR", self.coordinator.address());
        command
    }

    /// Runs the command to its end.
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().expect("the command runs")
    }

    /// Submits lines and returns the outcome lines.
    ///
    /// # Panics
    /// When the command can't be run or prints something else.
    #[must_use]
    pub fn submit(&self, lines: &[String]) -> Vec<Value> {
        let submitting = self.begin_submit(lines, &[]);
        json_lines(&submitting.wait_with_output().expect("it ends").stdout)
    }

    /// Begins to submit lines, read from a file so that nobody has to feed them.
    ///
    /// # Panics
    /// When the command can't be started.
    #[must_use]
    pub fn begin_submit(&self, lines: &[String], more: &[&str]) -> Child {
        let mut file = tempfile::NamedTempFile::new_in(self.folder()).expect("a file");
        for line in lines {
            writeln!(file, "{line}").expect("a line");
        }
        let (_, path) = file.keep().expect("a file");
        let mut command = self.command(&["submit", "--file"]);
        command.arg(path).args(more).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("submit starts")
    }

    /// Ends every process where it stands, in the middle of a load, with branches prepared at `p0` and `p1` that no
    /// decision has reached. Rows are numbered from `first`.
    ///
    /// # Panics
    /// When the load does not get going, or a process does not end.
    pub fn kill_under_load(&mut self, first: usize) {
        let lines: Vec<String> = (first..first + LOAD).map(|number| spread_transfer(number, "p0", "p1")).collect();
        let mut load = self.begin_submit(&lines, &["--concurrency", "64"]);
        self.wait_for_row(1, first + LOAD / 100);
        // Stopped, it hears no vote any more; participants go on preparing what has reached them.
        pause(&self.coordinator);
        std::thread::sleep(Duration::from_millis(150));
        self.coordinator.kill().expect("killed");
        for node in &mut self.participants {
            node.kill().expect("killed");
        }
        load.kill().expect("the client ends");
        load.wait().expect("the client ends");
    }

    /// Waits until a row of [`transfer`] is there at a participant.
    ///
    /// # Panics
    /// When it does not come.
    pub fn wait_for_row(&self, participant: usize, number: usize) {
        let (address, row) = (self.participants[participant].address(), format!("row/{number:06}"));
        wait_until("the load has come so far", Duration::from_secs(60), || {
            self.run(&["kv", "get", "--participant", address, &row]).status.success()
        });
    }

    /// The branches in doubt at a participant, as `txn list --participant` shows them.
    ///
    /// # Panics
    /// When the list can't be had.
    #[must_use]
    pub fn in_doubt(&self, participant: &Node) -> Vec<Value> {
        let output =
            self.run(&["txn", "list", "--participant", participant.address(), "--state", "in-doubt", "-o", "json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        json_lines(&output.stdout)
    }

    /// All values of a participant under a prefix.
    ///
    /// # Panics
    /// When they can't be had.
    #[must_use]
    pub fn scan(&self, participant: &Node, prefix: &str) -> Vec<Value> {
        let output =
            self.run(&["kv", "scan", "--participant", participant.address(), "--prefix", prefix, "-o", "json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        json_lines(&output.stdout)
    }

    /// What all servers wrote to stderr: for the message of a failing test.
    #[must_use]
    pub fn logs(&self) -> String {
        let nodes = std::iter::once(&self.coordinator).chain(&self.participants);
        nodes.map(|node| format!("--- {}\n{}", node.name(), node.log())).collect()
    }

    /// Whether any branch is in doubt at any participant.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        self.participants.iter().any(|node| !self.in_doubt(node).is_empty())
    }

    /// What `registry list` says of a participant, the present entry or the removed one.
    ///
    /// # Panics
    /// When the list can't be had.
    #[must_use]
    pub fn registered(&self, name: &str) -> Vec<Value> {
        let output = self.run(&["registry", "list", "-o", "json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        json_lines(&output.stdout).into_iter().filter(|line| line["name"] == name).collect()
    }

    /// A second coordinator on another folder, not started.
    #[must_use]
    pub fn other_coordinator(&self, data: &Path, log: &str) -> Node {
        self.coordinator_called("coordinator", data, log)
    }

    /// The same under a name of its own.
    #[must_use]
    pub fn coordinator_called(&self, name: &str, data: &Path, log: &str) -> Node {
        let mut spec = spec(&self.program, self.folder(), "coordinator", name, &[]);
        spec.data = data.to_owned();
        spec.log = self.folder().join(log);
        Node::new(spec)
    }
}

/// Transactions of a load that is killed long before its end.
const LOAD: usize = 20_000;

fn spec(program: &Path, folder: &Path, role: &'static str, name: &str, arguments: &[String]) -> NodeSpec {
    NodeSpec {
        program: program.to_owned(),
        role,
        name: name.to_owned(),
        data: folder.join(name),
        listen: "127.0.0.1:0".to_owned(),
        arguments: arguments.to_vec(),
        log: folder.join(format!("{name}.log")),
    }
}

/// Copies a data folder, as an operator would while its process is stopped.
///
/// # Panics
/// When it can't be read or written.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

/// Puts a copy in the place of a data folder.
///
/// # Panics
/// When it can't be read or written.
pub fn replace_folder(data: &Path, by: &Path) {
    std::fs::remove_dir_all(data).expect("a folder");
    copy_folder(by, data);
}

/// Ends a process in good order.
///
/// # Panics
/// When it does not end within ten seconds.
pub fn stop(node: &mut Node) {
    terminate(node);
    node.wait_exit(Duration::from_secs(10)).expect("it ends");
}

/// Stops a process so that it neither runs nor ends.
///
/// # Panics
/// When it does not run.
pub fn pause(node: &Node) {
    signal(node, Signal::STOP);
}

/// Lets it go on.
///
/// # Panics
/// When it does not run.
pub fn resume(node: &Node) {
    signal(node, Signal::CONT);
}

/// Asks it to end.
///
/// # Panics
/// When it does not run.
pub fn terminate(node: &Node) {
    signal(node, Signal::TERM);
}

fn signal(node: &Node, signal: Signal) {
    let pid = node.pid().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)).expect("a running process");
    kill_process(pid, signal).expect("a signal");
}

/// A transfer of one unit between two participants, with its number as a row at both.
#[must_use]
pub fn transfer(number: usize, from: &str, to: &str) -> String {
    format!(
        r#"{{"branches":[{{"participant":"{from}","ops":[{{"add":{{"key":"sum","delta":-1}}}},{{"put":{{"key":"row/{number:06}","value":1}}}}]}},{{"participant":"{to}","ops":[{{"add":{{"key":"sum","delta":1}}}},{{"put":{{"key":"row/{number:06}","value":1}}}}]}}]}}"#
    )
}

/// Transfers over keys of their own, so that they do not wait for each other.
#[must_use]
pub fn spread_transfer(number: usize, from: &str, to: &str) -> String {
    transfer(number, from, to).replace("\"sum\"", &format!("\"sum/{:03}\"", number % 500))
}

/// Parses JSON lines.
///
/// # Panics
/// On a line that is not JSON.
#[must_use]
pub fn json_lines(bytes: &[u8]) -> Vec<Value> {
    let text = String::from_utf8_lossy(bytes);
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Waits until something holds.
///
/// # Panics
/// When it does not within the time.
pub fn wait_until(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    let latest = Instant::now() + within;
    while !holds() {
        assert!(Instant::now() < latest, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
