//! The way from one operator to the API server, which can be held up.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use crate::stage::Stage;

/// What an operator sends on this way can be held up, and arrives later, also where its sender is gone by then. Answers are not.
pub struct Link {
    port: u16,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    frozen: AtomicBool,
    held: AtomicUsize,
}

impl Link {
    /// A way to the server of this URL.
    pub fn to(url: &str) -> Self {
        let server = url.trim_start_matches("https://").to_owned();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let (port, gate) = (listener.local_addr().unwrap().port(), Arc::new(Gate::default()));
        let shared = gate.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&server) else { continue };
                connect(client, server, &shared);
            }
        });
        Self { port, gate }
    }

    /// Holds up what is sent from now on, or lets it arrive.
    pub fn freeze(&self, frozen: bool) {
        self.gate.held.store(0, Ordering::SeqCst);
        self.gate.frozen.store(frozen, Ordering::SeqCst);
    }

    /// Whether something was sent since it is frozen.
    pub fn holds(&self) -> bool {
        self.gate.held.load(Ordering::SeqCst) > 0
    }

    /// The operator's kubeconfig for this way.
    pub fn kubeconfig(&self, stage: &Stage) -> PathBuf {
        let text = std::fs::read_to_string(stage.plane.operator_kubeconfig()).unwrap();
        let path = stage.plane.scratch().join(format!("{}.kubeconfig", stage.namespace));
        std::fs::write(&path, text.replace(&stage.plane.url(), &format!("https://127.0.0.1:{}", self.port))).unwrap();
        path
    }
}

fn connect(client: TcpStream, server: TcpStream, gate: &Arc<Gate>) {
    let (mut answers, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    thread::spawn(move || {
        let _ = std::io::copy(&mut answers, &mut back);
        let _ = back.shutdown(Shutdown::Both);
    });
    let (sent, held) = mpsc::channel::<Vec<u8>>();
    let (mut client, mut server, gate, counter) = (client, server, gate.clone(), gate.clone());
    // Taken from the sender at once: what is unread when it ends would be lost.
    thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while let Ok(count @ 1..) = client.read(&mut buffer) {
            counter.held.fetch_add(usize::from(counter.frozen.load(Ordering::SeqCst)), Ordering::SeqCst);
            if sent.send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        let mut was_held = false;
        for bytes in held {
            while gate.frozen.load(Ordering::SeqCst) {
                was_held = true;
                thread::sleep(Duration::from_millis(10));
            }
            if server.write_all(&bytes).is_err() {
                return;
            }
        }
        if was_held {
            // The API server gives up a request whose connection ends: it is to be answered.
            thread::sleep(Duration::from_secs(30));
        }
        let _ = server.shutdown(Shutdown::Both);
    });
}
