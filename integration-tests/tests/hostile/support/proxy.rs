//! A network in a box: passes TCP connections on, until it is told to lose one direction, both, or to be slow.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

/// What happens to one direction.
#[derive(Debug, Default)]
struct Direction {
    lost: AtomicBool,
    slow: AtomicBool,
}

/// Passes connections on to one address.
pub struct Proxy {
    pub address: SocketAddr,
    forth: Arc<Direction>,
    back: Arc<Direction>,
    cut: watch::Sender<u64>,
}

impl Proxy {
    /// Starts one before `target`.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (forth, back) = (Arc::new(Direction::default()), Arc::new(Direction::default()));
        let (cut, cuts) = watch::channel(0);
        let directions = (forth.clone(), back.clone());
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(target).await else { continue };
                let (near_read, near_write) = near.into_split();
                let (far_read, far_write) = far.into_split();
                tokio::spawn(pass(near_read, far_write, directions.0.clone(), cuts.clone()));
                tokio::spawn(pass(far_read, near_write, directions.1.clone(), cuts.clone()));
            }
        });
        Ok(Self { address, forth, back, cut })
    }

    /// As a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Loses all that goes forth or back from now on, while connections stay open; or no longer.
    pub fn lose(&self, forth: bool, back: bool) {
        self.forth.lost.store(forth, Relaxed);
        self.back.lost.store(back, Relaxed);
    }

    /// Passes a kilobyte every few milliseconds; or all at once again.
    pub fn slow(&self, slow: bool) {
        self.forth.slow.store(slow, Relaxed);
        self.back.slow.store(slow, Relaxed);
    }

    /// Closes all connections.
    pub fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: Arc<Direction>,
    mut cuts: watch::Receiver<u64>,
) {
    cuts.mark_unchanged();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let slow = direction.slow.load(Relaxed);
        let room = if slow { 1024 } else { buffer.len() };
        let read = tokio::select! {
            read = from.read(&mut buffer[..room]) => read,
            _ = cuts.changed() => return,
        };
        match read {
            Ok(0) | Err(_) => return,
            // What is lost was sent and never arrives, so nothing may pass on this connection ever after.
            Ok(_) if direction.lost.load(Relaxed) => {
                let _ = cuts.changed().await;
                return;
            }
            Ok(read) => {
                if slow {
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
                if to.write_all(&buffer[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}
