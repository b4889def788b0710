//! Processes one after another, and by mistake at the same time; listings that lag.

use super::*;

async fn leave(files: &Files, seed: u64, payloads: &[&str]) {
    let wal = open(&Faulty::well(files), seed).unwrap();
    for payload in payloads {
        wal.append(record(payload)).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn records_of_several_epochs_have_numbers_of_their_own_and_names_for_ever() {
    let files = Files::default();
    leave(&files, 1, &["a", "b"]).await;
    leave(&files, 2, &["c"]).await;
    let first = open(&Faulty::well(&files), 3).unwrap();
    let entries = read(&first);
    drop(first);
    let again = open(&Faulty::well(&files), 4).unwrap();
    for (entry, other) in entries.iter().zip(read(&again)) {
        assert_eq!((entry.source, &entry.payload), (other.source, &other.payload));
        let mut one = SeqRanges::default();
        one.insert(other.seq);
        let named = again.sources(&one);
        assert_eq!(named[0].0, entry.source.0);
        assert!(named[0].1.contains(entry.source.1) && named.len() == 1);
    }
    assert_eq!(entries.iter().map(|entry| text(&entry.payload)).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert!(entries.iter().all(|entry| !entry.may_duplicate));
}

#[tokio::test(start_paused = true)]
async fn objects_that_a_listing_does_not_show_yet_are_found_by_their_names() {
    let files = Files::default();
    leave(&files, 1, &["a", "b", "c", "d"]).await;
    let all = objects(&files);
    assert_eq!(all.len(), 4);
    let epoch: Vec<String> = files.0.lock().keys().filter(|path| path.contains("/epoch")).cloned().collect();
    for hidden in [&all[3..], &all[1..2], &all[1..], &all[..1], &all[..], &[all.clone(), epoch].concat()[..]] {
        let copy = Files(Arc::new(files.0.lock().clone().into()));
        let store = Faulty::well(&copy);
        store.hidden.lock().extend(hidden.iter().cloned());
        let wal = open(&store, 2).unwrap();
        assert_eq!(texts(&wal), ["a", "b", "c", "d"], "hidden: {hidden:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_that_comes_to_light_after_the_next_epoch_began_is_kept_and_says_that_it_may_be_there_twice() {
    let files = Files::default();
    leave(&files, 1, &["a", "b"]).await;
    let late = objects(&files).remove(1);
    let bytes = files.0.lock().remove(&late).unwrap();
    leave(&files, 2, &["c"]).await;
    files.0.lock().insert(late, bytes);
    let mut third = Process::start(Faulty::well(&files), 3).unwrap();
    let found: Vec<_> = third.memory.values().cloned().collect();
    assert_eq!(found, [("a".to_owned(), false), ("b".to_owned(), true), ("c".to_owned(), false)]);
    third.flush();
    assert!(objects(&files).is_empty());

    // Also when its epoch was forgotten.
    let files = Files::default();
    leave(&files, 1, &["a", "b"]).await;
    let late = objects(&files).remove(1);
    let bytes = files.0.lock()[&late].clone();
    Process::start(Faulty::well(&files), 2).unwrap().flush();
    files.0.lock().insert(late, bytes);
    let store = Faulty::well(&files);
    let wal = open(&store, 3).unwrap();
    assert_eq!(read(&wal).iter().map(|entry| entry.may_duplicate).collect::<Vec<_>>(), [true]);
}

#[tokio::test(start_paused = true)]
async fn an_older_process_stops_once_a_newer_one_has_taken_its_name() {
    let files = Files::default();
    let older = open(&Faulty::well(&files), 1).unwrap();
    older.append(record("a")).await.unwrap();
    let newer = open(&Faulty::well(&files), 2).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let failure = older.failed().borrow().clone().expect("the older one goes on");
    assert!(failure.to_string().contains("give it another"), "{failure}");
    assert!(matches!(older.append(record("b")).await, Err(AppendError::Failed(_))));
    newer.append(record("c")).await.unwrap();
    assert!(newer.failed().borrow().is_none());
    older.close().await;
    newer.close().await;
    assert_eq!(texts(&open(&Faulty::well(&files), 3).unwrap()), ["a", "c"]);
}

#[test]
fn a_start_refuses_a_name_that_is_in_use_and_waits_for_nobody_who_stopped_in_good_order() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let files = Files::default();
    let options = || Options { beat: Duration::from_millis(50), watch: Duration::from_millis(500), ..options() };
    let start = |seed| Objects::open(Faulty::well(&files), world(Work::Threads, seed), options());
    let first = start(1).unwrap();
    let refused = start(2).err().unwrap();
    assert!(
        matches!(refused, OpenError::Owned { .. }) && refused.to_string().contains("wal/node-1 is in use"),
        "{refused}"
    );
    runtime.block_on(first.append(record("a"))).unwrap();
    runtime.block_on(first.close());
    let began = std::time::Instant::now();
    let second = start(3).unwrap();
    assert!(began.elapsed() < Duration::from_millis(400));
    assert_eq!(second.entries().read().unwrap().len(), 1);
    // Killed: the next start watches, sees nothing and goes on.
    drop(second);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(start(4).unwrap().entries().read().unwrap().len(), 1);
}

#[test]
fn a_name_that_cannot_be_a_part_of_a_path_is_refused() {
    for name in ["", "..", "a/b", "é"] {
        let opened = Objects::open(Faulty::well(&Files::default()), world(Work::Threads, 1), Options::new(name));
        assert!(matches!(opened.err(), Some(OpenError::Name { .. })), "{name:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_of_an_unknown_version_stops_the_start() {
    let files = Files::default();
    leave(&files, 1, &["a"]).await;
    let note = files.0.lock().keys().find(|path| path.ends_with("/epoch")).cloned().unwrap();
    files.0.lock().insert(note.clone(), Bytes::from_static(b"{\"version\":9,\"opened_ms\":0,\"found\":{}}"));
    let error = open(&Faulty::well(&files), 2).err().unwrap();
    assert!(matches!(&error, OpenError::Version { path, version: 9, .. } if *path == note), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_survives_whatever_becomes_of_the_next_one() {
    let files = Files::default();
    let store = Faulty::well(&files);
    let wal = open(&store, 1).unwrap();
    wal.notes().write_checkpoint(b"one").unwrap();
    wal.notes().write_checkpoint(b"two").unwrap();
    let slot = |files: &Files, number: u64| {
        files.0.lock().keys().find(|path| path.ends_with(&format!(".{number}"))).cloned().unwrap()
    };
    // The third is torn.
    let torn = slot(&files, 1);
    files.0.lock().insert(torn.clone(), Bytes::from_static(b"CLEWNOTE"));
    drop(wal);
    let wal = open(&Faulty::well(&files), 2).unwrap();
    assert_eq!(wal.notes().checkpoints().unwrap(), [&b"two"[..]]);
    wal.notes().write_checkpoint(b"mine").unwrap();
    drop(wal);
    let wal = open(&Faulty::well(&files), 3).unwrap();
    assert_eq!(wal.notes().checkpoints().unwrap(), [&b"two"[..], b"mine"]);
    wal.notes().write("identity", b"me").unwrap();
    assert_eq!(wal.notes().read("identity").unwrap().unwrap(), &b"me"[..]);
    assert_eq!(wal.notes().set_aside("identity").unwrap(), "wal/node-1/identity.damaged");
    assert_eq!(wal.notes().read("identity").unwrap(), None);
}
