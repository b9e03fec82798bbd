//! Brings notifications to their address: in bodies of several, with Graph's patience, and with the
//! losses, doubles and detours that the options ask for.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::sim::dice::Dice;
use crate::sim::faults::DeliveryFaults;

/// How notifications travel. The defaults are Graph's, as far as they are known.
#[derive(Clone, Copy, Debug)]
pub struct DeliveryOptions {
    /// Most items in one POST.
    pub max_items: usize,
    /// How long items wait for company before they are sent.
    pub delay: Duration,
    /// How long the first attempt waits for an answer.
    pub first_timeout: Duration,
    /// How long every further attempt waits.
    pub retry_timeout: Duration,
    /// Before the second attempt; doubles each time.
    pub first_backoff: Duration,
    pub longest_backoff: Duration,
    /// Counted from the first attempt.
    pub give_up_after: Duration,
    /// Most POSTs to one address at once.
    pub at_once: usize,
}

impl Default for DeliveryOptions {
    fn default() -> Self {
        Self {
            max_items: 50,
            delay: Duration::from_millis(20),
            first_timeout: Duration::from_secs(3),
            retry_timeout: Duration::from_secs(10),
            first_backoff: Duration::from_secs(5),
            longest_backoff: Duration::from_secs(20 * 60),
            give_up_after: Duration::from_secs(4 * 3600),
            at_once: 8,
        }
    }
}

impl DeliveryOptions {
    /// Retries after milliseconds rather than minutes.
    pub fn fast() -> Self {
        Self {
            delay: Duration::from_millis(2),
            first_backoff: Duration::from_millis(20),
            longest_backoff: Duration::from_millis(500),
            ..Self::default()
        }
    }
}

/// What became of the notifications. Items unless it says otherwise.
#[derive(Clone, Debug, Default)]
pub struct DeliveryStats {
    pub queued: u64,
    /// Thrown away by a fault.
    pub lost: u64,
    /// Sent once more by a fault.
    pub doubled: u64,
    /// Answered with 2xx in time.
    pub delivered: u64,
    pub given_up: u64,
    /// POSTs sent, retries included.
    pub posts: u64,
    /// POSTs not answered with 2xx in time.
    pub failed_posts: u64,
    /// POSTs that were not the first for their body.
    pub retried_posts: u64,
    /// Answers by status; 0 stands for none.
    pub statuses: BTreeMap<u16, u64>,
    /// One for each answer, in order.
    pub response_times: Vec<Duration>,
}

pub(super) struct Delivery {
    options: DeliveryOptions,
    client: reqwest::Client,
    dice: Dice,
    runtime: Handle,
    stop: CancellationToken,
    script: Mutex<Script>,
    stats: Mutex<DeliveryStats>,
    queues: Mutex<HashMap<String, mpsc::UnboundedSender<Value>>>,
    outstanding: watch::Sender<usize>,
}

#[derive(Default)]
struct Script {
    faults: DeliveryFaults,
    lose: usize,
    double: usize,
}

const HELD: &str = "no panic while deliveries are held";

impl Delivery {
    pub(super) fn new(
        options: DeliveryOptions,
        client: reqwest::Client,
        seed: u64,
        stop: CancellationToken,
    ) -> Self {
        Self {
            options,
            client,
            dice: Dice::new(seed),
            runtime: Handle::current(),
            stop,
            script: Mutex::default(),
            stats: Mutex::default(),
            queues: Mutex::default(),
            outstanding: watch::channel(0).0,
        }
    }

    pub(super) fn set_faults(&self, faults: DeliveryFaults) {
        self.script.lock().expect(HELD).faults = faults;
    }

    pub(super) fn lose_next(&self, count: usize) {
        self.script.lock().expect(HELD).lose = count;
    }

    pub(super) fn double_next(&self, count: usize) {
        self.script.lock().expect(HELD).double = count;
    }

    pub(super) fn stats(&self) -> DeliveryStats {
        self.stats.lock().expect(HELD).clone()
    }

    fn count(&self, with: impl FnOnce(&mut DeliveryStats)) {
        with(&mut self.stats.lock().expect(HELD));
    }

    /// Waits until nothing is queued, under way or waiting for a retry.
    pub(super) async fn settled(&self) {
        let mut outstanding = self.outstanding.subscribe();
        // Fails only when the sender is gone, and we hold it.
        outstanding.wait_for(|count| *count == 0).await.ok();
    }

    pub(super) fn send(self: &Arc<Self>, url: &str, item: Value) {
        let (lose, double) = {
            let mut script = self.script.lock().expect(HELD);
            let lose = take_one(&mut script.lose) || self.dice.chance(script.faults.lose);
            (lose, !lose && (take_one(&mut script.double) || self.dice.chance(script.faults.double)))
        };
        self.count(|stats| {
            stats.queued += 1;
            stats.lost += u64::from(lose);
            stats.doubled += u64::from(double);
        });
        if lose {
            return;
        }
        self.enqueue(url, item.clone());
        if double {
            self.enqueue(url, item);
        }
    }

    fn enqueue(self: &Arc<Self>, url: &str, item: Value) {
        self.outstanding.send_modify(|count| *count += 1);
        let mut queues = self.queues.lock().expect(HELD);
        let queue = queues.entry(url.to_owned()).or_insert_with(|| {
            let (sender, receiver) = mpsc::unbounded_channel();
            self.runtime.spawn(Arc::clone(self).run(url.to_owned(), receiver));
            sender
        });
        // Fails only once the simulator has stopped.
        queue.send(item).ok();
    }

    /// Gathers the items for one address into bodies, and sends each on its own task: a body that is
    /// refused does not hold up the next.
    async fn run(self: Arc<Self>, url: String, mut queue: mpsc::UnboundedReceiver<Value>) {
        let places = Arc::new(Semaphore::new(self.options.at_once.max(1)));
        loop {
            let first = tokio::select! {
                () = self.stop.cancelled() => return,
                first = queue.recv() => first,
            };
            let Some(first) = first else { return };
            tokio::time::sleep(self.options.delay).await;
            let mut items = vec![first];
            while items.len() < self.options.max_items
                && let Ok(item) = queue.try_recv()
            {
                items.push(item);
            }
            let reorder = self.script.lock().expect(HELD).faults.reorder;
            let mut detour = Duration::ZERO;
            if self.dice.chance(reorder) {
                self.dice.shuffle(&mut items);
                detour = self.options.delay * 3;
            }
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let (this, url) = (Arc::clone(&self), url.clone());
            self.runtime.spawn(async move {
                tokio::time::sleep(detour).await;
                tokio::select! {
                    () = this.stop.cancelled() => {}
                    () = this.deliver(&url, items, place) => {}
                }
            });
        }
    }

    async fn deliver(&self, url: &str, items: Vec<Value>, place: tokio::sync::OwnedSemaphorePermit) {
        let n_items = items.len();
        let body = json!({"value": items}).to_string();
        let started = Instant::now();
        let (mut backoff, mut place) = (self.options.first_backoff, Some(place));
        let delivered = loop {
            let first = place.is_some();
            let timeout = if first { self.options.first_timeout } else { self.options.retry_timeout };
            if self.post(url, body.clone(), timeout, first).await {
                break true;
            }
            // Whoever waits for a retry leaves his place to new bodies.
            place = None;
            if started.elapsed() + backoff > self.options.give_up_after {
                break false;
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(self.options.longest_backoff);
        };
        drop(place);
        self.count(|stats| {
            let fate = if delivered { &mut stats.delivered } else { &mut stats.given_up };
            *fate += n_items as u64;
        });
        self.outstanding.send_modify(|count| *count -= n_items);
    }

    async fn post(&self, url: &str, body: String, timeout: Duration, first: bool) -> bool {
        let started = Instant::now();
        let request = self.client.post(url).header("content-type", "application/json; charset=utf-8");
        let answer = request.body(body).timeout(timeout).send().await;
        let status = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
        let delivered = (200..300).contains(&status);
        self.count(|stats| {
            stats.posts += 1;
            stats.retried_posts += u64::from(!first);
            stats.failed_posts += u64::from(!delivered);
            *stats.statuses.entry(status).or_default() += 1;
            if status != 0 {
                stats.response_times.push(started.elapsed());
            }
        });
        delivered
    }
}

fn take_one(left: &mut usize) -> bool {
    let some = *left > 0;
    *left = left.saturating_sub(1);
    some
}
