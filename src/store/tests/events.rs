//! The outbox of events: durable, bounded, and each receiver by itself.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::support::*;
use crate::domain::event::{Delivery, Event, WAITING_AT_MOST, What};
use crate::store::{Hearer, Store};

const HERE: Hearer = Hearer { receiver: [1; 8], window: MINUTE };
const THERE: Hearer = Hearer { receiver: [2; 8], window: SECOND };

fn parked(code: &str, n: u8, second: i64) -> Event {
    let what = What::UserParked { code: code.to_owned(), users: vec![user(n)] };
    Event { id: Uuid::from_u128(u128::from(n)), at: at(second), what, suppressed: 0 }
}

async fn hear(store: &Store, event: Event) -> usize {
    let now = event.at;
    store.hear(event, vec![HERE, THERE], now).await.unwrap()
}

/// The ids of what waits, and how much each kept back.
async fn waiting(store: &Store, hearer: Hearer) -> Vec<(u128, u64)> {
    let waiting = store.outgoing(hearer.receiver).await.unwrap();
    waiting.iter().map(|it| (it.delivery.event.id.as_u128(), it.delivery.event.suppressed)).collect()
}

#[tokio::test]
async fn what_was_heard_is_there_after_a_restart_and_the_window_goes_on() {
    let memory = Memory::default();
    let store = open(&memory);
    hear(&store, parked("rejected", 1, 0)).await;
    hear(&store, parked("rejected", 2, 10)).await;
    hear(&store, parked("other", 3, 11)).await;
    store.close().await;
    let store = open(&memory);
    assert_eq!(waiting(&store, HERE).await, [(1, 0), (3, 0)]);
    assert_eq!(waiting(&store, THERE).await, [(1, 0), (2, 0), (3, 0)], "each has a window of its own");
    hear(&store, parked("rejected", 4, 59)).await;
    assert_eq!(store.end_quiet_windows(vec![HERE], at(59)).await.unwrap(), (Some(at(60)), 0));
    assert_eq!(waiting(&store, HERE).await.len(), 2);
    assert_eq!(store.end_quiet_windows(vec![HERE], at(60)).await.unwrap(), (None, 0));
    assert_eq!(waiting(&store, HERE).await, [(1, 0), (3, 0), (4, 1)], "both of the window as one");
    // What is over and kept nothing leaves no trace.
    store.end_quiet_windows(vec![HERE], at(200)).await.unwrap();
    hear(&store, parked("rejected", 5, 201)).await;
    assert_eq!(waiting(&store, HERE).await.last(), Some(&(5, 0)));
}

#[tokio::test]
async fn a_dead_receiver_costs_a_bounded_number_of_rows() {
    let store = fresh();
    let mut given_up = 0;
    for n in 0..WAITING_AT_MOST + 30 {
        let second = i64::try_from(n).unwrap();
        let event = Event { id: Uuid::from_u128(n as u128), ..parked(&format!("code {n}"), 0, second) };
        given_up += store.hear(event, vec![HERE], at(second)).await.unwrap();
    }
    let waiting = waiting(&store, HERE).await;
    assert_eq!((waiting.len(), given_up), (WAITING_AT_MOST, 30));
    assert_eq!(waiting[0].0, 30, "the oldest went");
}

#[tokio::test]
async fn a_delivery_is_put_off_or_done_with_and_strangers_are_forgotten() {
    let store = fresh();
    hear(&store, parked("rejected", 1, 0)).await;
    hear(&store, parked("other", 2, 1)).await;
    let [first, second] = &store.outgoing(HERE.receiver).await.unwrap()[..] else { panic!() };
    let again = Delivery { attempts: 1, due_at: at(5), ..first.delivery.clone() };
    store.tried_delivery(first.clone(), Some(again.clone())).await.unwrap();
    store.tried_delivery(second.clone(), None).await.unwrap();
    let left = store.outgoing(HERE.receiver).await.unwrap();
    assert_eq!(left.iter().map(|it| &it.delivery).collect::<Vec<_>>(), [&again]);
    // One that had to give way meanwhile does not come back.
    store.tried_delivery(second.clone(), Some(again)).await.unwrap();
    assert_eq!(store.outgoing(HERE.receiver).await.unwrap().len(), 1);

    store.keep_receivers(BTreeSet::from([THERE.receiver])).await.unwrap();
    assert_eq!(waiting(&store, HERE).await, []);
    assert_eq!(waiting(&store, THERE).await.len(), 2);
    hear(&store, parked("rejected", 3, 2)).await;
    assert_eq!(waiting(&store, HERE).await, [(3, 0)], "its windows are forgotten too");
}
