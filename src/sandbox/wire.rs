//! The connection under a request: a TCP stream that a handler can break, so that a fault really answers nothing (`reliability.md` 3.6).

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::{Extension, Router};
use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A handler's grip on its own connection.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    broken: Arc<AtomicBool>,
    peer: Option<SocketAddr>,
}

impl Wire {
    /// Breaks the connection: nothing more is written, and it ends with a reset.
    pub(super) fn reset(&self) {
        self.broken.store(true, Ordering::SeqCst);
    }

    /// Whether the other end is this machine.
    pub(super) fn is_loopback(&self) -> bool {
        self.peer.is_some_and(|peer| peer.ip().is_loopback())
    }
}

/// Hands every connection's [`Wire`] to its requests. Under TLS it sits below the encryption, so not even a close notification leaves.
#[derive(Debug, Clone, Copy)]
pub(super) struct WireAcceptor;

impl Accept<TcpStream, Router> for WireAcceptor {
    type Stream = WireStream;
    type Service = Router;
    type Future = std::future::Ready<io::Result<(WireStream, Router)>>;

    fn accept(&self, stream: TcpStream, router: Router) -> Self::Future {
        let wire = Wire { broken: Arc::default(), peer: stream.peer_addr().ok() };
        // Small answers must not wait for an acknowledgement: the bench measures latency.
        let accepted = stream.set_nodelay(true).map(|()| {
            let router = router.layer(Extension(wire.clone()));
            (WireStream { stream, broken: wire.broken }, router)
        });
        std::future::ready(accepted)
    }
}

/// A TCP stream that refuses to write once it is broken.
#[derive(Debug)]
pub(super) struct WireStream {
    stream: TcpStream,
    broken: Arc<AtomicBool>,
}

impl WireStream {
    fn check(&self) -> io::Result<()> {
        if self.broken.load(Ordering::SeqCst) { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl Drop for WireStream {
    fn drop(&mut self) {
        if self.broken.load(Ordering::SeqCst) {
            // A reset instead of an orderly end. Where that fails, the end still comes without an answer.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for WireStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for WireStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // An orderly shutdown would send FIN before the reset.
        self.check()?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
