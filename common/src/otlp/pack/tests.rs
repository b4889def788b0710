use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::sleep};

use super::*;
use crate::{
    log::{RealDisk, Work},
    world::{Clock, Random},
};

/// Keeps packs; waits to be let go on, and can be told to fail.
#[derive(Default)]
struct Shelf {
    packs: Mutex<Vec<(String, Vec<u8>, u32)>>,
    go_on: Notify,
    held: AtomicBool,
    full: AtomicBool,
}

struct OnShelf(Arc<Shelf>);

impl Store for OnShelf {
    fn store(&self, pack: Pack) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>> {
        let shelf = self.0.clone();
        Box::pin(async move {
            if shelf.held.load(Ordering::SeqCst) {
                shelf.go_on.notified().await;
            }
            if shelf.full.load(Ordering::SeqCst) {
                return Err(StoreError::Busy("full".to_owned()));
            }
            let raw = zstd::bulk::decompress(&pack.payload, pack.raw.len()).expect("a zstd frame");
            assert_eq!(raw, pack.raw);
            shelf.packs.lock().push((pack.tenant.to_string(), raw, pack.spans));
            Ok(())
        })
    }
}

fn world() -> World {
    World {
        disk: Arc::new(RealDisk),
        work: Work::Inline,
        clock: Clock::Tokio { epoch_ms: 1_000_000, zero: tokio::time::Instant::now() },
        random: Random::seeded(1),
    }
}

fn packer(shelf: &Arc<Shelf>, known: Vec<(u64, u128)>) -> Packer {
    Packer::start(Arc::new(OnShelf(shelf.clone())), world(), 7, known, Metrics::default()).0
}

fn request(tenant: &str, body: &str) -> Request {
    Request {
        tenant: Tenant::new(tenant).expect("a name"),
        body: Bytes::copy_from_slice(body.as_bytes()),
        spans: 1,
        traces: vec![[1; 16]],
        permit: Permit::none(),
    }
}

fn send(packer: &Packer, tenant: &str, body: &str) -> tokio::task::JoinHandle<Result<(), StoreError>> {
    let (packer, request) = (packer.clone(), request(tenant, body));
    tokio::spawn(async move { packer.store(request).await })
}

#[tokio::test(start_paused = true)]
async fn requests_that_wait_become_one_pack_for_each_tenant() {
    let shelf = Arc::new(Shelf::default());
    let packer = packer(&shelf, vec![]);
    shelf.held.store(true, Ordering::SeqCst);
    let mut sent: Vec<_> = ["1", "2"].map(|body| send(&packer, "a", body)).into();
    sleep(Duration::from_millis(1)).await;
    // One or two groups are being stored now; these wait for them.
    sent.extend([("a", "3"), ("b", "4"), ("a", "5"), ("b", "6")].map(|(tenant, body)| send(&packer, tenant, body)));
    sleep(Duration::from_millis(1)).await;
    shelf.held.store(false, Ordering::SeqCst);
    shelf.go_on.notify_waiters();
    for sent in sent {
        sent.await.unwrap().unwrap();
    }
    let packs = shelf.packs.lock().clone();
    assert_eq!(packs.iter().map(|(_, _, spans)| spans).sum::<u32>(), 6);
    assert!(packs.contains(&("a".to_owned(), b"35".to_vec(), 2)), "{packs:?}");
    assert!(packs.contains(&("b".to_owned(), b"46".to_vec(), 2)), "{packs:?}");
}

#[tokio::test(start_paused = true)]
async fn a_retry_is_acked_and_not_stored_again_for_a_minute() {
    let shelf = Arc::new(Shelf::default());
    let packer = packer(&shelf, vec![]);
    send(&packer, "a", "x").await.unwrap().unwrap();
    send(&packer, "a", "x").await.unwrap().unwrap();
    assert_eq!(shelf.packs.lock().len(), 1);
    // The same bytes of another tenant are another request.
    send(&packer, "b", "x").await.unwrap().unwrap();
    assert_eq!(shelf.packs.lock().len(), 2);
    sleep(RETRY_WINDOW + Duration::from_secs(1)).await;
    send(&packer, "a", "x").await.unwrap().unwrap();
    assert_eq!(shelf.packs.lock().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_comes_while_the_first_is_stored_shares_its_fate() {
    let shelf = Arc::new(Shelf::default());
    let packer = packer(&shelf, vec![]);
    shelf.held.store(true, Ordering::SeqCst);
    shelf.full.store(true, Ordering::SeqCst);
    let sent = [send(&packer, "a", "x"), send(&packer, "a", "x")];
    sleep(Duration::from_millis(1)).await;
    assert!(sent.iter().all(|sent| !sent.is_finished()), "acked before it was stored");
    shelf.held.store(false, Ordering::SeqCst);
    shelf.go_on.notify_waiters();
    for sent in sent {
        assert!(matches!(sent.await.unwrap(), Err(StoreError::Busy(_))));
    }
    // What was not stored is not remembered.
    shelf.full.store(false, Ordering::SeqCst);
    send(&packer, "a", "x").await.unwrap().unwrap();
    assert_eq!(shelf.packs.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_retry_is_known_after_a_restart() {
    let shelf = Arc::new(Shelf::default());
    let first = packer(&shelf, vec![]);
    send(&first, "a", "x").await.unwrap().unwrap();
    let seed = 7 ^ xxhash_rust::xxh3::xxh3_64(b"a");
    let known = vec![(1_000_000, xxhash_rust::xxh3::xxh3_128_with_seed(b"x", seed))];
    let second = packer(&shelf, known);
    send(&second, "a", "x").await.unwrap().unwrap();
    send(&second, "a", "y").await.unwrap().unwrap();
    assert_eq!(shelf.packs.lock().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_packing_ends_with_its_last_handle_after_storing_what_it_has() {
    let shelf = Arc::new(Shelf::default());
    let (packer, ended) = Packer::start(Arc::new(OnShelf(shelf.clone())), world(), 7, vec![], Metrics::default());
    let sent = send(&packer, "a", "x");
    drop(packer);
    ended.await;
    sent.await.unwrap().unwrap();
    assert_eq!(shelf.packs.lock().len(), 1);
}
