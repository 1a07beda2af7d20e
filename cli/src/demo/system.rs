//! The demo's processes: started, killed with SIGKILL, started again, watched and read.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use handfast_client::{Client, Filter, Options, ParticipantClient, Transaction};
use handfast_common::ids::Name;
use handfast_common::messages::{Select, ValueLine};
use handfast_common::operation::{OnKey, Operation, Value};

use super::DemoArgs;
use super::bank::{ACCOUNT, Found, TRANSFER};
use crate::nodes::{Node, NodeSpec};

/// Deadline of a question to a process of our own.
const ASK: Duration = Duration::from_secs(5);
/// How often branches in doubt are looked at.
const WATCH: Duration = Duration::from_millis(200);

/// The coordinator and its participants.
pub(super) struct System {
    coordinator: Node,
    participants: Vec<Node>,
    names: Vec<Name>,
    random: StdRng,
    kills: BTreeMap<&'static str, u64>,
    longest_doubt_ms: u64,
    watched: Instant,
    /// Last, so that the processes go before their files.
    _folder: Option<TempDir>,
}

impl System {
    pub(super) async fn start(args: &DemoArgs, seed: u64) -> anyhow::Result<Self> {
        let (folder, temporary) = folder(args)?;
        let program = std::env::current_exe().context("can't find this program to start it again")?;
        let spec = |role, name: &str, arguments: Vec<String>| NodeSpec {
            program: program.clone(),
            role,
            name: name.to_owned(),
            data: folder.join(name),
            listen: "127.0.0.1:0".to_owned(),
            arguments,
            log: folder.join(format!("{name}.log")),
        };
        let mut coordinator = Node::new(spec("coordinator", "coordinator", Vec::new()));
        coordinator.start()?;
        let known = vec!["--coordinator".to_owned(), coordinator.address().to_owned()];
        let mut participants = Vec::new();
        let mut names = Vec::new();
        for number in 1..=args.participants {
            let name = format!("bank-{number}");
            let mut node = Node::new(spec("participant", &name, known.clone()));
            node.start()?;
            participants.push(node);
            names.push(Name::new(name)?);
        }
        let system = Self {
            coordinator,
            participants,
            names,
            random: StdRng::seed_from_u64(seed ^ 0x6b69_6c6c),
            kills: BTreeMap::from([("coordinator", 0), ("participant", 0)]),
            longest_doubt_ms: 0,
            watched: Instant::now(),
            _folder: temporary,
        };
        system.wait_until_registered().await?;
        Ok(system)
    }

    /// Every participant makes itself known within moments; transfers need all of them.
    async fn wait_until_registered(&self) -> anyhow::Result<()> {
        let latest = Instant::now() + Duration::from_secs(20);
        let client = self.client()?;
        loop {
            let look = Operation::Get(OnKey { key: "probe".to_owned() });
            let probe = self
                .names
                .iter()
                .fold(Transaction::new(), |probe, name| probe.branch(name.as_str(), vec![look.clone()]));
            match client.submit(probe, ASK).await {
                Ok(report) if report.is_committed() => return Ok(()),
                Ok(_) | Err(_) if Instant::now() < latest => tokio::time::sleep(Duration::from_millis(20)).await,
                Ok(report) => bail!("the participants do not answer: {:?}", report.outcome),
                Err(error) => bail!("the participants have not registered: {error}"),
            }
        }
    }

    pub(super) fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::connect(Options::new([self.coordinator.address()]))?)
    }

    pub(super) fn names(&self) -> Vec<Name> {
        self.names.clone()
    }

    pub(super) fn kills(&self) -> u64 {
        self.kills.values().sum()
    }

    pub(super) fn kills_by_role(&self) -> BTreeMap<&'static str, u64> {
        self.kills.clone()
    }

    /// Whether one of each role has been killed, if there are to be kills enough for that.
    pub(super) fn both_roles_killed(&self, wanted: u64) -> bool {
        wanted < 2 || self.kills.values().all(|count| *count > 0)
    }

    /// Kills a process chosen at random, of a role that has not been killed yet if there is one, and starts it again.
    pub(super) async fn kill_one(&mut self) -> anyhow::Result<()> {
        let spared = self.kills.iter().find(|(_, count)| **count == 0).map(|(role, _)| *role);
        let coordinator = match spared {
            Some(role) => role == "coordinator",
            None => self.random.random_bool(1.0 / (1.0 + self.participants.len() as f64)),
        };
        let pause = Duration::from_millis(self.random.random_range(0..60));
        let node = if coordinator {
            &mut self.coordinator
        } else {
            let victim = self.random.random_range(0..self.participants.len());
            &mut self.participants[victim]
        };
        *self.kills.entry(node.role()).or_default() += 1;
        node.kill()?;
        tokio::time::sleep(pause).await;
        // Off this thread, so that the clients go on meanwhile.
        let mut restarting = std::mem::replace(node, Node::vacant());
        let (restarting, started) = tokio::task::spawn_blocking(move || {
            let started = restarting.start();
            (restarting, started)
        })
        .await?;
        *node = restarting;
        started.with_context(|| format!("{} did not come back", node.name()))
    }

    /// Looks, now and then, how long branches have been in doubt.
    pub(super) async fn watch_doubts(&mut self) {
        if self.watched.elapsed() >= WATCH {
            self.watched = Instant::now();
            for node in &self.participants {
                // One that has just been killed does not answer; the next look will see it.
                if let Ok((_, longest)) = doubts(node, Duration::from_millis(100)).await {
                    self.longest_doubt_ms = self.longest_doubt_ms.max(longest);
                }
            }
        }
    }

    pub(super) fn longest_doubt_ms(&self) -> u64 {
        self.longest_doubt_ms
    }

    /// Waits until nobody is in doubt and the coordinator has no open transaction; how many are left otherwise.
    pub(super) async fn wait_until_quiet(&mut self, within: Duration) -> anyhow::Result<u64> {
        let latest = Instant::now() + within;
        let client = self.client()?;
        loop {
            let mut left = client.list(Filter::default(), ASK).await?.len() as u64;
            for node in &self.participants {
                let (count, longest) = doubts(node, ASK).await?;
                left = left.max(count);
                self.longest_doubt_ms = self.longest_doubt_ms.max(longest);
            }
            if left == 0 || Instant::now() >= latest {
                return Ok(left);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Reads every account and every transfer's rows from the participants.
    pub(super) async fn read_books(&self) -> anyhow::Result<Found> {
        let mut found = Found::default();
        for (node, name) in self.participants.iter().zip(&self.names) {
            for line in values(node, ACCOUNT).await? {
                found.accounts += 1;
                found.total += integer(&line)?;
            }
            for line in values(node, TRANSFER).await? {
                let key = line.key.strip_prefix(TRANSFER).unwrap_or_default().parse()?;
                found.rows.entry(key).or_default().push((name.clone(), integer(&line)?));
            }
        }
        Ok(found)
    }
}

fn folder(args: &DemoArgs) -> anyhow::Result<(PathBuf, Option<TempDir>)> {
    match &args.keep {
        Some(keep) => {
            std::fs::create_dir_all(keep).with_context(|| format!("can't make {}", keep.display()))?;
            if std::fs::read_dir(keep)?.next().is_some() {
                bail!("{} is not empty: name a new folder", keep.display());
            }
            Ok((keep.clone(), None))
        }
        None => {
            let temporary = tempfile::Builder::new().prefix("handfast-demo-").tempdir()?;
            Ok((temporary.path().to_owned(), Some(temporary)))
        }
    }
}

/// How many branches are in doubt at a participant, and for how long the oldest has been.
async fn doubts(node: &Node, within: Duration) -> anyhow::Result<(u64, u64)> {
    let branches = ParticipantClient::connect(node.address())?.branches(Filter::default(), within).await?;
    let in_doubt = branches.iter().filter(|line| line.state == "in-doubt");
    let longest = in_doubt.clone().map(|line| line.since_ms).max().unwrap_or(0);
    Ok((in_doubt.count() as u64, longest))
}

async fn values(node: &Node, prefix: &str) -> anyhow::Result<Vec<ValueLine>> {
    Ok(ParticipantClient::connect(node.address())?.values(Select::Prefix(prefix.to_owned()), ASK).await?)
}

fn integer(line: &ValueLine) -> anyhow::Result<i64> {
    match &line.value {
        Some(Value::Integer(value)) => Ok(*value),
        other => bail!("{} holds {other:?} instead of an integer", line.key),
    }
}
