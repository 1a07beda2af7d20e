//! Servers as processes of their own: the example's program once more, called as the command `handfast`.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use handfast::nodes::{Node, NodeSpec};
use handfast_client::ParticipantClient;

use crate::wire::Wire;

/// Runs the server, if this process was started as one.
#[must_use]
pub fn called_as_a_server() -> Option<ExitCode> {
    let role = std::env::args().nth(1)?;
    (role == "coordinator" || role == "participant").then(handfast::run)
}

/// A server that has not been started, on a folder of its own within `folder`.
///
/// # Errors
/// When this program's own path is not known.
pub fn node(folder: &Path, role: &'static str, name: &str, arguments: &[&str]) -> std::io::Result<Node> {
    Ok(Node::new(NodeSpec {
        program: std::env::current_exe()?,
        role,
        name: name.to_owned(),
        data: folder.join(name),
        listen: "127.0.0.1:0".to_owned(),
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        log: folder.join(format!("{name}.log")),
    }))
}

/// A participant behind a slow wire that can be cut.
#[derive(Debug)]
pub struct Remote {
    /// The process.
    pub node: Node,
    /// What the coordinator and the others reach it by.
    pub wire: Wire,
    /// A client that does not go through the wire.
    pub client: ParticipantClient,
}

impl Remote {
    /// Starts it; the others are told the wire's end.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start(folder: &Path, name: &str, coordinator: &str, delay: Duration) -> anyhow::Result<Self> {
        let wire = Wire::lay(delay).await?;
        let advertised = wire.address().to_string();
        let mut node = node(folder, "participant", name, &["--advertise", &advertised, "--coordinator", coordinator])?;
        node.start()?;
        wire.lead_to(node.address().parse::<SocketAddr>()?);
        let client = ParticipantClient::connect(node.address())?;
        Ok(Self { node, wire, client })
    }
}
