//! A store that fails, is slow or away.

use super::*;

#[tokio::test(start_paused = true)]
async fn what_was_appended_is_read_back_in_order_by_the_next_process() {
    let files = Files::default();
    let wal = open(&Faulty::well(&files), 1).unwrap();
    let seqs = join_all((0..20).map(|n| wal.append(record(&format!("record {n}"))))).await;
    assert_eq!(seqs.into_iter().map(Result::unwrap).collect::<Vec<_>>(), (1..=20).collect::<Vec<_>>());
    assert_eq!(wal.committed(), 21);
    assert!(objects(&files).len() < 10, "no groups");
    wal.close().await;
    assert!(matches!(wal.append(record("late")).await, Err(AppendError::Closed)));
    let wal = open(&Faulty::well(&files), 2).unwrap();
    assert_eq!(texts(&wal), (0..20).map(|n| format!("record {n}")).collect::<Vec<_>>());
    assert_eq!(wal.append(record("next")).await.unwrap(), 21);
}

#[tokio::test(start_paused = true)]
async fn a_put_whose_answer_is_lost_is_made_again_and_the_record_is_there_once() {
    let files = Files::default();
    let store = Faulty::with(&files, |number, doing, path| {
        if doing == "put" && path.ends_with(".wal") && number % 3 != 0 { Fate::AnswerLost } else { Fate::Well }
    });
    let wal = open(&store, 1).unwrap();
    for n in 0..10 {
        wal.append(record(&format!("{n}"))).await.unwrap();
    }
    assert!(wal.failed_puts() > 0);
    drop(wal);
    assert_eq!(texts(&open(&Faulty::well(&files), 2).unwrap()), (0..10).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn no_record_is_acked_before_those_before_it_are_durable() {
    let files = Files::default();
    let store = Faulty::with(&files, |_, doing, path| {
        if doing == "put" && path.ends_with("00000000000000000001.wal") { Fate::Fails } else { Fate::Well }
    });
    let wal = open(&store, 1).unwrap();
    // Each is worth an object: four are under way at once.
    let long = "x".repeat(70);
    let appended: Vec<_> = (0..3).map(|_| tokio::spawn(wal.append(record(&long)))).collect();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(objects(&files).len(), 2, "the later ones are there");
    assert!(appended.iter().all(|append| !append.is_finished()));
    assert_eq!(wal.committed(), 1);
    store.now(|_, _, _| Fate::Well);
    for (append, seq) in appended.into_iter().zip(1..) {
        assert_eq!(append.await.unwrap().unwrap(), seq);
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_leads_to_retryable_refusals_and_to_nothing_worse() {
    let files = Files::default();
    let store = Faulty::well(&files);
    let wal = open(&store, 1).unwrap();
    wal.append(record("before")).await.unwrap();
    store.now(|_, _, _| Fate::Fails);
    let under_way = tokio::spawn(wal.append(record("under way")));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let waiting = tokio::spawn(wal.append(record("waiting")));
    tokio::time::sleep(Duration::from_secs(60)).await;
    let refused = waiting.await.unwrap().unwrap_err();
    assert!(refused.is_retryable() && refused.to_string().contains("away"), "{refused}");
    let refused = wal.append(record("refused")).await.unwrap_err();
    assert!(refused.is_retryable(), "{refused}");
    assert!(!under_way.is_finished() && wal.failed().borrow().is_none());
    store.now(|_, _, _| Fate::Well);
    assert_eq!(under_way.await.unwrap().unwrap(), 2);
    assert_eq!(wal.append(record("after")).await.unwrap(), 3);
    drop(wal);
    assert_eq!(texts(&open(&Faulty::well(&files), 2).unwrap()), ["before", "under way", "after"]);
}

#[tokio::test(start_paused = true)]
async fn past_its_memory_or_its_bytes_appends_are_refused_until_there_is_room() {
    let files = Files::default();
    let store = Faulty::with(
        &files,
        |_, doing, path| {
            if doing == "put" && path.ends_with(".wal") { Fate::Fails } else { Fate::Well }
        },
    );
    let wal = open(&store, 1).unwrap();
    let long = "x".repeat(1000);
    let appended: Vec<_> = (0..10).map(|_| tokio::spawn(wal.append(record(&long)))).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (mut refused, mut taken) = (0, Vec::new());
    for append in appended {
        if append.is_finished() {
            assert!(matches!(append.await.unwrap(), Err(AppendError::Full { budget: 4096, .. })));
            refused += 1;
        } else {
            taken.push(append);
        }
    }
    assert_eq!((refused, taken.len()), (6, 4));
    store.now(|_, _, _| Fate::Well);
    for append in taken {
        append.await.unwrap().unwrap();
    }
    wal.append(record(&long)).await.unwrap();
    let max = options().limits.max_record_bytes as usize;
    assert!(matches!(wal.append(record(&"x".repeat(max))).await, Err(AppendError::TooLarge { .. })));

    let store: Arc<dyn Store> = Faulty::well(&Files::default());
    let limits = Limits { max_bytes: 3000, ..options().limits };
    let wal = Wal::Objects(Objects::open(store, world(Work::Inline, 1), Options { limits, ..options() }).unwrap());
    wal.append(record(&long)).await.unwrap();
    wal.append(record(&long)).await.unwrap();
    assert!(matches!(wal.append(record(&long)).await, Err(AppendError::Full { .. })));
    wal.free_before(2);
    wal.append(record(&long)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn only_objects_whose_every_record_is_below_are_deleted_and_a_failed_deletion_is_made_up_for() {
    let files = Files::default();
    let store = Faulty::well(&files);
    let wal = open(&store, 1).unwrap();
    let five = || (0..5).map(|n| wal.append(record(&format!("{n}"))));
    join_all(five()).await;
    join_all(five()).await;
    let before = objects(&files);
    assert_eq!(before.len(), 2);
    wal.free_before(5);
    assert_eq!(objects(&files), before);
    store.now(|_, doing, _| if doing == "delete" { Fate::Fails } else { Fate::Well });
    wal.free_before(6);
    assert_eq!(objects(&files), before);
    store.now(|_, _, _| Fate::Well);
    wal.free_before(6);
    assert_eq!(objects(&files), before[1..]);
    drop(wal);
    assert_eq!(read(&open(&Faulty::well(&files), 2).unwrap()).len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_close_with_the_store_away_ends_and_says_that_what_waits_is_not_durable() {
    let store = Faulty::well(&Files::default());
    let wal = open(&store, 1).unwrap();
    store.now(|_, _, _| Fate::Fails);
    let waiting = tokio::spawn(wal.append(record("waiting")));
    tokio::time::sleep(Duration::from_secs(1)).await;
    tokio::time::timeout(Duration::from_secs(30), wal.close()).await.unwrap();
    assert!(matches!(waiting.await.unwrap(), Err(AppendError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn a_damaged_object_costs_the_records_that_were_hit_and_a_copy_is_kept() {
    let files = Files::default();
    let wal = open(&Faulty::well(&files), 1).unwrap();
    join_all((0..3).map(|n| wal.append(record(&format!("record {n}"))))).await;
    drop(wal);
    let path = objects(&files).remove(0);
    let mut bytes = files.0.lock()[&path].to_vec();
    let at = bytes.windows(8).position(|window| window == b"record 1").unwrap();
    bytes[at] ^= 1;
    files.0.lock().insert(path, bytes.into());
    let wal = open(&Faulty::well(&files), 2).unwrap();
    assert_eq!(texts(&wal), ["record 0", "record 2"]);
    assert_eq!(wal.stats().damaged_ranges.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert!(files.0.lock().keys().any(|path| path.starts_with("wal/node-1/quarantine/")));
}

#[test]
fn with_real_threads_groups_form_while_earlier_puts_are_under_way() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let files = Files::default();
    let mut store = Faulty::with(&files, |number, _, _| if number % 7 == 6 { Fate::AnswerLost } else { Fate::Well });
    Arc::get_mut(&mut store).unwrap().takes = Duration::from_millis(20);
    let store: Arc<dyn Store> = store;
    let options =
        Options { limits: Limits { worth_bytes: 2000, object_bytes: 4000, ..Limits::default() }, ..options() };
    let wal = Wal::Objects(Objects::open(store, world(Work::Threads, 1), options).unwrap());
    let total = 2000;
    let seqs = runtime.block_on(async {
        let appends = (0..total).map(|n| tokio::spawn(wal.append(record(&format!("record {n:05}")))));
        join_all(appends.collect::<Vec<_>>()).await
    });
    assert_eq!(seqs.into_iter().map(|seq| seq.unwrap().unwrap()).collect::<Vec<_>>(), (1..=total).collect::<Vec<_>>());
    assert!((7..200).contains(&objects(&files).len()), "{}", objects(&files).len());
    runtime.block_on(wal.close());
    let wal = Wal::Objects(Objects::open(Faulty::well(&files), world(Work::Threads, 2), self::options()).unwrap());
    assert_eq!(texts(&wal), (0..total).map(|n| format!("record {n:05}")).collect::<Vec<_>>());
}
