//! What whoever reads a store from outside finds of it: parts of spans, what of the log is in blocks, copies of blocks.

use std::{path::Path, sync::Arc};

use clew_common::{
    ids::Tenant,
    log::{Disk, SimDisk},
};

use super::{append, batch, open, open_in_store, store, world};
use crate::{
    columns::tests::{columns, otlp},
    store::{Folder, Store},
    verify::{Covered, Found, Part, copy_block, folders, log_name, read_store_wals, read_wal},
};

/// Numbers of the log's records that no block of their tenant has.
fn uncovered(disk: &SimDisk) -> Vec<u64> {
    let (mut seqs, on_disk): (Vec<u64>, Arc<dyn Disk>) = (Vec::new(), Arc::new(disk.clone()));
    let log = log_name(on_disk.clone(), Path::new("/store")).unwrap().unwrap();
    let covered = Covered::by(&folders(&store(disk)).unwrap());
    // A thread of its own: the test has a runtime already.
    std::thread::scope(|scope| {
        let read = || {
            let record = |record: crate::verify::WalRecord| {
                if !covered.has(&record.head.tenant, log, record.seq) {
                    seqs.push(record.seq);
                }
            };
            read_wal(on_disk, Path::new("/store/wal"), record, |damage| panic!("{damage:?}"))
        };
        scope.spawn(read).join().unwrap().unwrap();
    });
    seqs
}

#[tokio::test(start_paused = true)]
async fn what_is_in_the_log_alone_is_told_from_what_is_in_blocks() {
    let disk = SimDisk::new();
    let storage = open(&disk, 16 << 20).storage;
    for (seq, tenant) in [(1, "a"), (2, "b"), (3, "a")] {
        append(&storage, tenant, seq, &[seq as u8], "x").await.unwrap();
    }
    assert_eq!(uncovered(&disk).len(), 3);
    storage.flush().unwrap();
    assert!(uncovered(&disk).is_empty());
    append(&storage, "a", 4, &[4], "x").await.unwrap();
    assert_eq!(uncovered(&disk).len(), 1);
    assert!(!Covered::default().has(&Tenant::default(), uuid::Uuid::nil(), 1));
}

#[tokio::test(start_paused = true)]
async fn logs_in_a_store_are_read_without_a_change() {
    let disk = SimDisk::new();
    let all = |disk: &SimDisk| store(disk).list("").unwrap().into_iter().map(|file| file.path).collect::<Vec<_>>();
    let read = |disk: &SimDisk| {
        let (store, mut found) = (store(disk), Vec::new());
        let covered = Covered::by(&folders(&store).unwrap());
        let record = |log, record: crate::verify::WalRecord| {
            let part = Part::from(record.spans);
            found.push((part.spans(), covered.has(&record.head.tenant, log, record.seq)));
        };
        read_store_wals(&store, &world(disk), record, |damage| panic!("{damage:?}")).unwrap();
        found
    };
    assert_eq!(read(&disk), []);
    let first = open_in_store(&disk, 1).storage;
    append(&first, "a", 1, &[1, 2], "x").await.unwrap();
    first.flush().unwrap();
    append(&first, "a", 2, &[3], "x").await.unwrap();
    drop(first);
    disk.kill();
    let second = open_in_store(&disk, 2).storage;
    append(&second, "b", 3, &[4, 5, 6], "x").await.unwrap();
    let before = all(&disk);
    let mut found = read(&disk);
    found.retain(|(_, covered)| !covered);
    found.sort_unstable();
    assert_eq!(found, [(1, false), (3, false)], "of both processes, what is in no block");
    assert_eq!(all(&disk), before);
}

fn blocks(store: &Arc<dyn Store>) -> Vec<Found> {
    folders(store).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_block_is_copied_only_while_it_is_what_its_meta_says() {
    let disk = SimDisk::new();
    let storage = open(&disk, 16 << 20).storage;
    append(&storage, "a", 1, &[1, 2, 3], "x").await.unwrap();
    storage.flush().unwrap();
    drop(storage);
    let source = store(&disk);
    let target: Arc<dyn Store> = Arc::new(Folder::new(Arc::new(disk.clone()), Path::new("/copy")));
    let found = &blocks(&source)[0];
    let block = found.block.as_ref().unwrap().as_ref().unwrap();
    for file in &found.files {
        let name = file.path.rsplit('/').next().unwrap();
        let whole = source.read(&file.path, 0..file.bytes).unwrap();
        if name == "meta.json" {
            continue;
        }
        let mut flipped = whole.to_vec();
        flipped[whole.len() / 2] ^= 1;
        source.put(&file.path, flipped.into()).unwrap();
        let damage = copy_block(&*source, found, block, &*target).unwrap().unwrap();
        assert!(damage.place.ends_with(name), "{damage:?}");
        assert_eq!(target.list("").unwrap(), [], "nothing is left of it");
        source.delete(&file.path).unwrap();
        let damage = copy_block(&*source, found, block, &*target).unwrap().unwrap();
        assert!(damage.what.contains("missing") && target.list("").unwrap().is_empty(), "{damage:?}");
        source.put(&file.path, whole).unwrap();
    }
    assert_eq!(copy_block(&*source, found, block, &*target).unwrap(), None);
    let copy = &blocks(&target)[0];
    assert_eq!((copy.path.as_str(), copy.files.len()), (found.path.as_str(), found.files.len()));
    let spans = |found: &Found| {
        let block = found.block.as_ref().unwrap().as_ref().unwrap();
        let parts = Part::all_of(block, 2).unwrap();
        parts.map(|part| part.unwrap().otlp(0..1).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((spans(copy).len(), spans(copy)), (2, spans(found)));
}

#[test]
fn a_part_is_cut_into_messages_and_loses_nothing() {
    let traces: Vec<u8> = (1..=100).collect();
    let request = batch(&traces, &"n".repeat(50));
    let part = Part::of_otlp(&request).unwrap();
    assert_eq!(part.spans(), 100);
    let whole = otlp(&columns(&request));
    for max in [1, 100, 500, 5000, usize::MAX] {
        let messages: Vec<Vec<u8>> = part.messages(max).map(Result::unwrap).collect();
        assert!(messages.iter().all(|message| message.len() <= max || Part::of_otlp(message).unwrap().spans() == 1));
        assert_eq!(otlp(&columns(&messages.concat())), whole, "in messages of {max} bytes");
    }
    let some = part.clone().only(|trace, _| trace[0] > 90).unwrap();
    assert_eq!(some.spans(), 10);
    assert_eq!(part.clone().only(|_, start| start > 0).unwrap().messages(1).count(), 0);
    assert!(part.otlp(99..101).is_err());
    assert!(Part::of_otlp(b"\x0A\x05abc").is_err());
}
