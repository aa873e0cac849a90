//! Servers that are no Genesys: one that only counts who comes, and one that answers what the test says.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Another host: it counts the connections that are made to it.
pub struct Stranger {
    pub url: String,
    connections: Arc<AtomicUsize>,
}

impl Stranger {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { url, connections }
    }

    /// How many came. A connection of its own proves that the listener works and that nobody waits before it.
    pub async fn connections(&self) -> usize {
        let own = self.connections.load(Ordering::SeqCst) + 1;
        TcpStream::connect(self.url.trim_start_matches("http://")).await.unwrap();
        while self.connections.load(Ordering::SeqCst) < own {
            tokio::task::yield_now().await;
        }
        self.connections.load(Ordering::SeqCst) - 1
    }
}

/// A request as it came: its head, then its body.
#[derive(Clone, Debug)]
pub struct Received {
    pub head: String,
    pub body: String,
}

impl Received {
    /// The value of a header; empty where it is absent.
    pub fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }
}

/// A server that answers each request with what a function makes of it: the bytes after `HTTP/1.1 `.
pub struct Scripted {
    pub url: String,
    seen: Arc<Mutex<Vec<Received>>>,
}

impl Scripted {
    pub async fn start(answer: impl Fn(&Received) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (book, answer) = (seen.clone(), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (book, answer) = (book.clone(), answer.clone());
                tokio::spawn(async move {
                    let _ = serve(stream, &book, answer.as_ref()).await;
                });
            }
        });
        Self { url, seen }
    }

    pub fn seen(&self) -> Vec<Received> {
        self.seen.lock().unwrap().clone()
    }
}

/// An answer with a JSON body and further header lines.
pub fn answer(status: u16, headers: &str, body: &str) -> String {
    format!("{status} X\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

async fn serve(
    mut stream: TcpStream,
    book: &Mutex<Vec<Received>>,
    answer: &(impl Fn(&Received) -> String + Sync),
) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let (head, body) = loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let received = Received { head: head.to_owned(), body: body.to_owned() };
        if body.len() >= received.header("content-length").parse().unwrap_or(0) {
            break (received.head, received.body);
        }
    };
    let received = Received { head, body };
    let text = format!("HTTP/1.1 {}", answer(&received).replacen("\r\n", "\r\nConnection: close\r\n", 1));
    book.lock().unwrap().push(received);
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}
