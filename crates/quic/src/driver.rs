//! The thread that drives QUIC.
//!
//! Packets, timers and cryptography run on a current-thread runtime of their own, so that work which computes never
//! delays them. Measured on two cores that is a fifth faster than a multi-thread runtime.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::socket::BatchSocket;

/// Owns a driver thread; the thread ends when the last clone is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Driver {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    handle: Handle,
    /// Closed when the thread has dropped all that ran on it.
    ended: watch::Receiver<()>,
    _stop: DropGuard,
}

/// The one driver that all channels of a process share while any exists.
static CLIENTS: Mutex<Weak<Inner>> = Mutex::new(Weak::new());

impl Driver {
    /// Starts a thread of its own.
    pub(crate) fn start(name: &str) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let (ending, ended) = watch::channel(());
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(stopped.cancelled());
            drop(runtime);
            drop(ending);
        })?;
        Ok(Driver { inner: Arc::new(Inner { handle, ended, _stop: stop.drop_guard() }) })
    }

    /// Gives the driver that the channels of this process share, started when there is none.
    pub(crate) fn of_clients() -> io::Result<Self> {
        let mut shared = CLIENTS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(inner) = shared.upgrade() {
            return Ok(Driver { inner });
        }
        let driver = Driver::start("quic-client")?;
        *shared = Arc::downgrade(&driver.inner);
        Ok(driver)
    }

    /// Drops the driver and waits until its sockets are closed; nobody else may hold it.
    pub(crate) async fn stop(self) {
        let mut ended = self.inner.ended.clone();
        drop(self);
        // Nothing is ever sent: an error is the end.
        let _ = ended.changed().await;
    }

    /// The driver's runtime.
    pub(crate) fn handle(&self) -> &Handle {
        &self.inner.handle
    }

    /// Gives the runtime that quinn's endpoints use; it does not keep the thread alive.
    pub(crate) fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(OnDriver { handle: self.inner.handle.clone() })
    }
}

/// Runs quinn's tasks, timers and sockets on the driver thread, from whatever thread they are made.
#[derive(Debug)]
struct OnDriver {
    handle: Handle,
}

impl Runtime for OnDriver {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        let _entered = self.handle.enter();
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.handle.spawn(future);
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let _entered = self.handle.enter();
        Ok(Arc::new(BatchSocket::new(TokioRuntime.wrap_udp_socket(socket)?)))
    }
}
