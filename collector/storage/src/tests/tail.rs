//! Tails: what is new, once if it can be, in any case at least once.

use std::time::Duration;

use clew_common::{ids::Tenant, log::SimDisk};
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;

use super::{append, open, open_in_store, trace};
use crate::{Cursor, News, Snapshot, Storage, Tail, TailError};

fn tail(storage: &Storage, after: Option<Cursor>) -> Tail {
    storage.tail(&Tenant::new("a").unwrap(), after).unwrap()
}

/// The names of the spans, of traces 1 to 9.
fn names(snapshot: &Snapshot) -> Vec<String> {
    let parts = (1..10).flat_map(|number| snapshot.trace(&trace(number)));
    let spans = parts.flat_map(|part| TracesData::decode(part.unwrap()).unwrap().resource_spans);
    spans.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).map(|span| span.name).collect()
}

/// The names of what is new; none when nothing is.
async fn news(tail: &mut Tail) -> Vec<String> {
    match tokio::time::timeout(Duration::from_millis(10), tail.next()).await {
        Ok(News { snapshot, .. }) => names(&snapshot),
        Err(_) => Vec::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_tail_gives_each_span_of_its_tenant_once_from_its_start_on() {
    let disk = SimDisk::new();
    let storage = open(&disk, 16 << 20).storage;
    append(&storage, "a", 1, &[1], "before").await.unwrap();
    let mut tail = tail(&storage, None);
    assert!(news(&mut tail).await.is_empty());
    append(&storage, "a", 2, &[1], "first").await.unwrap();
    append(&storage, "b", 3, &[1], "other").await.unwrap();
    append(&storage, "a", 4, &[2], "second").await.unwrap();
    assert_eq!(news(&mut tail).await, ["first", "second"]);
    assert!(news(&mut tail).await.is_empty());
    append(&storage, "a", 5, &[3], "third").await.unwrap();
    assert_eq!(news(&mut tail).await, ["third"]);
}

#[tokio::test(start_paused = true)]
async fn what_went_into_blocks_unread_is_read_there() {
    let disk = SimDisk::new();
    let storage = open(&disk, 16 << 20).storage;
    let mut tail = tail(&storage, None);
    append(&storage, "a", 1, &[1], "first").await.unwrap();
    assert_eq!(news(&mut tail).await, ["first"]);
    storage.flush().unwrap();
    assert!(news(&mut tail).await.is_empty(), "all of the block was read");
    append(&storage, "a", 2, &[2], "second").await.unwrap();
    storage.flush().unwrap();
    append(&storage, "a", 3, &[3], "third").await.unwrap();
    storage.compact().unwrap();
    let mut both = news(&mut tail).await;
    both.retain(|name| name != "first");
    assert_eq!(both, ["second", "third"]);
}

#[tokio::test(start_paused = true)]
async fn a_tail_goes_on_after_a_cursor_through_flush_and_restart() {
    for in_store in [false, true] {
        let disk = SimDisk::new();
        let open = |seed| if in_store { open_in_store(&disk, seed).storage } else { open(&disk, 16 << 20).storage };
        let storage = open(1);
        let mut first = tail(&storage, None);
        append(&storage, "a", 1, &[1], "first").await.unwrap();
        assert_eq!(news(&mut first).await, ["first"]);
        // What a cursor tells is what was published when the tail looked.
        let cursor: Cursor = first.cursor().to_string().parse().unwrap();
        append(&storage, "a", 2, &[2], "second").await.unwrap();
        assert_eq!(news(&mut tail(&storage, Some(cursor))).await, ["second"], "in memory");
        storage.flush().unwrap();
        append(&storage, "a", 3, &[3], "third").await.unwrap();
        storage.wal().close().await;
        drop((first, storage));
        disk.kill();
        let storage = open(2);
        let mut again = tail(&storage, Some(cursor));
        // The block is read whole.
        assert_eq!(news(&mut again).await, ["first", "second", "third"], "in store: {in_store}");
        append(&storage, "a", 4, &[4], "fourth").await.unwrap();
        assert_eq!(news(&mut again).await, ["fourth"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cursor_of_another_collector_or_of_nobody_is_refused() {
    let storage = open(&SimDisk::new(), 16 << 20).storage;
    let foreign: Cursor = "00000000000070008000000000000001.7".parse().unwrap();
    let tenant = Tenant::new("a").unwrap();
    assert_eq!(storage.tail(&tenant, Some(foreign)).err(), Some(TailError::Foreign));
    for text in ["", "1", ".", "x.1", "00000000000070008000000000000001.", "00000000000070008000000000000001.-1"] {
        assert_eq!(text.parse::<Cursor>(), Err(TailError::Malformed), "{text}");
    }
}
