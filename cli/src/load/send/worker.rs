//! One sender: takes a request, sends it until it is answered for good, takes the next.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    acked::AckedWriter,
    answer::{Answer, Reason},
    source::Item,
    tally::Tally,
    transport::Connection,
};

/// First pause before a request is sent again; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Longest pause that is chosen here; the endpoint may ask for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What all senders of a run share.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) items: tokio::sync::Mutex<mpsc::Receiver<Item>>,
    pub(crate) tally: Mutex<Tally>,
    pub(crate) acked: Option<Mutex<AckedWriter>>,
    pub(crate) started: Instant,
    /// No request is begun after this.
    pub(crate) deadline: Option<Instant>,
    /// Longest wait for one answer.
    pub(crate) answer_timeout: Duration,
    /// How long a request is tried again.
    pub(crate) give_up: Duration,
    /// Cancelled when the person at the keyboard has had enough: nothing is begun or repeated any more.
    pub(crate) stop: CancellationToken,
}

/// The acknowledgement could not be written down.
#[derive(Debug, thiserror::Error)]
#[error("writing down which requests were acknowledged: {0}")]
pub(crate) struct AckedError(std::io::Error);

/// Sends until there is nothing more to send.
pub(crate) async fn work(run: Arc<Run>, mut connection: Connection) -> Result<(), AckedError> {
    while let Some(item) = next(&run).await {
        let scheduled = item.due.map_or_else(Instant::now, |due| run.started + due);
        deliver(&run, &mut connection, item, scheduled).await?;
    }
    Ok(())
}

/// The next request, when it is time for it.
async fn next(run: &Run) -> Option<Item> {
    let item = {
        let mut items = tokio::select! {
            items = run.items.lock() => items,
            () = run.stop.cancelled() => return None,
        };
        let item = tokio::select! {
            item = items.recv() => item?,
            () = run.stop.cancelled() => return None,
            () = sleep_until(run.deadline.unwrap_or_else(far)), if run.deadline.is_some() => return None,
        };
        item
    };
    let due = item.due.map_or_else(Instant::now, |due| run.started + due);
    if run.deadline.is_some_and(|deadline| due >= deadline) {
        return None;
    }
    if item.due.is_some() {
        tokio::select! {
            () = sleep_until(due) => {}
            () = run.stop.cancelled() => return None,
        }
    }
    Some(item)
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(86_400)
}

/// Sends one request until it is taken, refused or given up. Its latency counts from when it was to be sent, so that
/// waiting for a free sender counts too.
async fn deliver(run: &Run, connection: &mut Connection, item: Item, scheduled: Instant) -> Result<(), AckedError> {
    let mut pause = FIRST_PAUSE;
    let give_up = Instant::now() + run.give_up;
    loop {
        let answer = match timeout(run.answer_timeout, connection.send(item.framed.clone())).await {
            Ok(answer) => answer,
            Err(_) => {
                let message = format!("no answer within {:?}", run.answer_timeout);
                Answer::Retry { after: None, reason: Reason::local("timeout", message) }
            }
        };
        let rejected = match answer {
            Answer::Accepted => 0,
            Answer::Partial { rejected, message } => {
                run.tally.lock().reason(Reason::local("partial success", message));
                rejected
            }
            Answer::Refused(reason) => {
                run.tally.lock().refused(item.spans, reason);
                return Ok(());
            }
            Answer::Retry { after, reason } => {
                // Jitter spreads those who were turned away together.
                let wait = match after {
                    Some(asked) => asked.mul_f64(1.0 + 0.2 * rand::random::<f64>()),
                    None => pause.mul_f64(0.5 + 0.5 * rand::random::<f64>()),
                };
                pause = (pause * 2).min(LONGEST_PAUSE);
                run.tally.lock().retried(reason);
                if !wait_to_retry(run, wait, give_up).await {
                    run.tally.lock().given_up(item.spans);
                    return Ok(());
                }
                continue;
            }
        };
        run.tally.lock().acked(item.spans, item.framed.len(), rejected, scheduled.elapsed());
        if let Some(acked) = &run.acked {
            acked.lock().add(item.index).map_err(AckedError)?;
        }
        return Ok(());
    }
}

/// False when the request is to be given up instead.
async fn wait_to_retry(run: &Run, wait: Duration, give_up: Instant) -> bool {
    if Instant::now() + wait > give_up {
        return false;
    }
    tokio::select! {
        () = sleep(wait) => true,
        () = run.stop.cancelled() => false,
    }
}
