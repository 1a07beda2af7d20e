//! Three small services: ordering calls stock and payment, and all of it is one transaction.
//!
//! Each service keeps its data at a participant of its own. Ordering begins the transaction and calls the other two with
//! its context, as one header value; they join it, work in it, and know nothing of each other. Then payment's
//! participant is killed right after its vote: the order is committed all the same, and payment hears of it when it is
//! back.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use handfast_client::{Client, Context, HEADER, Joined, Options, Tx};
use handfast_common::messages::Select;
use handfast_common::operation::Value;
use handfast_examples::processes::{Remote, called_as_a_server, node};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

const DEADLINE: Duration = Duration::from_secs(10);
/// How long a message to payment's participant takes: long enough to kill it between its vote and the decision.
const SLOW: Duration = Duration::from_millis(60);

fn main() -> anyhow::Result<ExitCode> {
    if let Some(code) = called_as_a_server() {
        return Ok(code);
    }
    let folder = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(folder.path()))?;
    Ok(ExitCode::SUCCESS)
}

async fn run(folder: &Path) -> anyhow::Result<()> {
    let mut coordinator = node(folder, "coordinator", "coordinator", &[])?;
    coordinator.start()?;
    let at = coordinator.address().to_owned();
    let _orders = Remote::start(folder, "orders", &at, Duration::ZERO).await?;
    let stock = Remote::start(folder, "stock", &at, Duration::ZERO).await?;
    let mut payment = Remote::start(folder, "payment", &at, SLOW).await?;
    let client = Client::connect(Options::new([at.as_str()]))?;
    fill(&client).await?;

    let stock_service = serve(client.clone(), reserve).await?;
    let payment_service = serve(client.clone(), charge).await?;
    let ordering = Ordering { client, stock: stock_service, payment: payment_service };

    let told = ordering.order("order-1", "book", 2).await;
    println!("two books: {}", told.as_ref().map_or_else(ToString::to_string, |()| "ordered".to_owned()));
    ensure!(told.is_ok());
    let told = ordering.order("order-2", "book", 9).await;
    println!("nine books: {}", told.as_ref().map_or_else(ToString::to_string, |()| "ordered".to_owned()));
    ensure!(told.is_err(), "there are only three left");

    let told = ordering.order("order-3", "book", 1).await;
    // Payment voted yes and has not heard more: the decision is on its way, over a slow wire.
    payment.wire.cut();
    payment.node.kill()?;
    println!("one book: {}", told.as_ref().map_or_else(ToString::to_string, |()| "ordered".to_owned()));
    println!("payment's participant is killed after its vote");
    told?;
    println!("stock has {} books left", value(&stock, "book").await?);

    payment.wire.mend();
    payment.node.start()?;
    let back = Instant::now();
    while value(&payment, "customer").await? != 70 {
        ensure!(back.elapsed() < DEADLINE, "payment never heard of it");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("payment is back, asks, and hears: the customer has 70 left after {} ms", back.elapsed().as_millis());
    ensure!(value(&stock, "book").await? == 2);
    Ok(())
}

/// The service that others call: takes an order, which is stock, payment and a row of its own, or nothing.
struct Ordering {
    client: Client,
    stock: SocketAddr,
    payment: SocketAddr,
}

impl Ordering {
    async fn order(&self, id: &str, item: &str, count: i64) -> anyhow::Result<()> {
        let body = |tx: Tx| async move {
            tx.put("orders", id, format!("{count} x {item}")).await?;
            let header = tx.context().to_header()?;
            let (items, money) = (format!("{item} {count}"), format!("customer {}", 10 * count));
            // Side by side; each of them joins.
            tokio::try_join!(
                call(self.stock, &header, &items),
                call(self.payment, &header, &money),
            )?;
            anyhow::Ok(())
        };
        Ok(self.client.transact(body).await?)
    }
}

/// Takes items from the shelf.
async fn reserve(tx: Joined, item: String, count: i64) -> anyhow::Result<()> {
    Ok(tx.add_within("stock", &item, -count, 0..).await?)
}

/// Takes money from an account.
async fn charge(tx: Joined, account: String, amount: i64) -> anyhow::Result<()> {
    Ok(tx.add_within("payment", &account, -amount, 0..).await?)
}

/// A service on a port: a line with the header, a line with the request, a line of answer. HTTP would carry the same.
async fn serve<F>(client: Client, work: fn(Joined, String, i64) -> F) -> anyhow::Result<SocketAddr>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let serving = async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (from, mut to) = stream.into_split();
            let mut lines = BufReader::new(from).lines();
            let asked = async {
                let header = lines.next_line().await?.context("no header")?;
                let header = header.strip_prefix(HEADER).and_then(|rest| rest.strip_prefix(": ")).context("no header")?;
                let request = lines.next_line().await?.context("no request")?;
                let (what, count) = request.split_once(' ').context("no request")?;
                work(client.join(&header.parse::<Context>()?), what.to_owned(), count.parse()?).await
            };
            let answer = asked.await.map_or_else(|error| format!("no: {error}\n"), |()| "ok\n".to_owned());
            // Whoever has gone away needs no answer.
            let _ = to.write_all(answer.as_bytes()).await;
        }
    };
    tokio::spawn(serving);
    Ok(address)
}

async fn call(service: SocketAddr, header: &str, request: &str) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(service).await?;
    stream.write_all(format!("{HEADER}: {header}\n{request}\n").as_bytes()).await?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).await?;
    match answer.trim_end() {
        "ok" => Ok(()),
        refused => bail!("{refused}"),
    }
}

/// Fills the shelf and the account. Participants make themselves known within moments of their start.
async fn fill(client: &Client) -> anyhow::Result<()> {
    for _ in 0..100 {
        let filled = client.transact(|tx| async move {
            tx.put("orders", "ready", 1).await?;
            tx.put("stock", "book", 5).await?;
            tx.put("payment", "customer", 100).await
        });
        match filled.await {
            Ok(()) => return Ok(()),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    bail!("the participants have not registered")
}

async fn value(at: &Remote, key: &str) -> anyhow::Result<i64> {
    let lines = at.client.values(Select::Key(key.to_owned()), DEADLINE).await?;
    match lines.first().and_then(|line| line.value.clone()) {
        Some(Value::Integer(number)) => Ok(number),
        other => bail!("{key} holds {other:?}"),
    }
}
