//! The process dies at each request to the store.

use super::*;

/// A life: takes over, appends, flushes, appends again, stops. Ends early when its process dies.
async fn live(store: Arc<Faulty>, life: usize, acked: &mut Vec<String>) -> Option<()> {
    let mut process = Process::start(store.clone(), life as u64)?;
    let mut number = 0;
    for round in 0..3 {
        let payloads: Vec<String> = (0..5)
            .map(|_| {
                number += 1;
                format!("life {life} record {number} {}", "x".repeat(number % 3 * 20))
            })
            .collect();
        acked.extend(process.append(&payloads).await);
        if store.is_dead() {
            return None;
        }
        if round == 1 {
            process.flush();
        }
    }
    if life.is_multiple_of(2) {
        process.wal.close().await;
    }
    (!store.is_dead()).then_some(())
}

#[tokio::test(start_paused = true)]
async fn whatever_was_acked_is_found_once_if_the_process_dies_at_any_request() {
    let requests = {
        let store = Faulty::well(&Files::default());
        live(store.clone(), 0, &mut Vec::new()).await.unwrap();
        store.requests()
    };
    assert!(requests > 20, "{requests}");
    for dying in 0..requests {
        for fate in [Fate::DiesBefore, Fate::DiesAfter] {
            // The second life takes over from one that died, and dies too; the third finds both.
            for second in [0, dying / 2, dying, requests] {
                let (files, mut acked) = (Files::default(), Vec::new());
                let at = move |last: usize| {
                    move |number: usize, _: &str, _: &str| if number == last { fate } else { Fate::Well }
                };
                live(Faulty::with(&files, at(dying)), 0, &mut acked).await;
                live(Faulty::with(&files, at(second)), 1, &mut acked).await;
                let mut last = Process::start(Faulty::well(&files), 2).unwrap();
                let case = format!("{fate:?} at {dying}, then at {second}");
                assert_found_once(&last, &acked, &case);
                assert!(last.memory.values().all(|(_, may_duplicate)| !may_duplicate), "{case}");
                acked.extend(last.append(&["last".to_owned()]).await);
                last.flush();
                assert_found_once(&last, &acked, &case);
                let (left, own) = (objects(&files), last.wal.sources(&SeqRanges::below(u64::MAX)));
                assert!(left.is_empty(), "{case}: {left:?}");
                let epochs = files.0.lock().keys().filter(|path| path.ends_with("/epoch")).count();
                assert_eq!(epochs, 1, "{case}: {own:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn with_any_mix_of_faults_and_deaths_whatever_was_acked_is_found_once() {
    for seed in 0..300 {
        let (files, mut acked, random) = (Files::default(), Vec::new(), Random::seeded(seed));
        for life in 0..6 {
            let (chance, dies_at) = (random.clone(), random.between(5.0, 120.0) as usize);
            let store = Faulty::with(&files, move |number, _, _| match (number == dies_at, chance.bits() % 10) {
                (true, 0..5) => Fate::DiesBefore,
                (true, _) => Fate::DiesAfter,
                (false, 0) => Fate::Fails,
                (false, 1) => Fate::AnswerLost,
                (false, _) => Fate::Well,
            });
            live(store, life, &mut acked).await;
        }
        let last = Process::start(Faulty::well(&files), 99).unwrap();
        assert_found_once(&last, &acked, &format!("seed {seed}"));
    }
}
