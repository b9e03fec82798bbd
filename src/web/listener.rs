//! The accept loop of both listeners.
//!
//! Our own and not `axum::serve`, because that one never gives up on a client that dribbles: ten
//! thousand such sockets would stay open for ever. What holds here instead:
//!
//! - Whoever makes us wait is timed: for the head, for the body, for the next request, for taking
//!   the answer ([`Limits`]).
//! - At the cap a newcomer takes the place of the connection that has made us wait longest, so a
//!   room full of idlers never keeps a genuine client out. Only when every connection is being
//!   served is the newcomer turned away, with a 503.
//! - Out of file descriptors, the loop gives one up and tries again later; it never spins.
//! - A handler that panics costs its client a 503 and nobody else anything.
//! - At shutdown nobody new gets in, idle connections are closed and requests under way finish.
//!
//! HTTP/1.1 only: Graph needs no more, and HTTP/2 brings its own kinds of floods.

mod connection;
mod endpoint;
mod tls;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::shutdown::{Shutdown, Tasks};
use connection::Seat;
pub use endpoint::{Endpoint, Socket, TcpEndpoint, UnixEndpoint};
pub use tls::{TlsEndpoint, TlsError, TlsFiles};

/// How long a client may make us wait, and how many clients there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections served at once.
    pub connections: usize,
    /// From the accept to the end of the TLS handshake, and from the accept, or the first byte of a
    /// later request, to the end of its head.
    pub head: Duration,
    /// From the end of the head to the end of the body.
    pub body: Duration,
    /// From one answer to the next request.
    pub idle: Duration,
    /// Between two signs that the client is taking our answer.
    pub write: Duration,
    /// An older connection is closed with its next answer.
    pub age: Duration,
    /// The request line and all headers; more is answered with 431.
    pub head_bytes: usize,
}

impl Limits {
    pub const fn public() -> Self {
        Self {
            connections: 1024,
            head: Duration::from_secs(5),
            body: Duration::from_secs(10),
            idle: Duration::from_secs(15),
            write: Duration::from_secs(10),
            age: Duration::from_secs(60),
            head_bytes: 32 << 10,
        }
    }

    pub const fn private() -> Self {
        Self { connections: 64, ..Self::public() }
    }
}

/// Connections that were told to leave may take a moment to go; so many more than the cap are
/// accepted meanwhile.
const LEAVING: usize = 16;
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// Serves `router` to whoever connects to `endpoint`, until shutdown. Returns when the last
/// connection is closed; nothing a client or the network does makes it return earlier.
pub async fn serve<E: Endpoint>(
    name: &'static str,
    endpoint: E,
    router: Router,
    limits: Limits,
    shutdown: Shutdown,
    tasks: Tasks,
) {
    let room = Arc::new(Room::new(limits.connections));
    let capacity = limits.connections + LEAVING;
    let doors = Arc::new(Semaphore::new(capacity));
    let (mut pause, mut complained_at) = (SHORTEST_PAUSE, None::<Instant>);
    tracing::info!(listener = name, "{name} listens");
    loop {
        let door = doors.clone().acquire_owned();
        let next = async {
            let door = door.await.expect("the doors are never closed");
            (door, endpoint.accept().await)
        };
        let (door, accepted) = tokio::select! {
            biased;
            () = shutdown.requested() => break,
            next = next => next,
        };
        let socket = match accepted {
            Ok(socket) => socket,
            Err(error) if is_of_one_client(&error) => continue,
            Err(error) => {
                if complained_at.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
                    complained_at = Some(Instant::now());
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(listener = name, error, "{name} cannot accept connections, and tries on");
                }
                // Most likely there are no file descriptors left: one idler less is one more.
                room.make_place();
                tokio::select! {
                    () = shutdown.requested() => break,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
                continue;
            }
        };
        pause = SHORTEST_PAUSE;
        let Some(place) = room.clone().enter() else {
            tracing::debug!(listener = name, "{name} is full");
            socket.refuse();
            continue;
        };
        let connection = connection::run(socket, place, router.clone(), limits, shutdown.clone());
        tasks.spawn(async move {
            connection.await;
            drop(door);
        });
    }
    drop(endpoint);
    let everybody = u32::try_from(capacity).unwrap_or(u32::MAX);
    doors.acquire_many(everybody).await.expect("the doors are never closed").forget();
    tracing::info!(listener = name, "{name} has stopped");
}

/// Whether the failure is over with the one connection that was to be accepted (accept(2)).
fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, PermissionDenied, TimedOut};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | PermissionDenied | TimedOut)
}

/// Who is connected, in the order they came.
struct Room {
    cap: usize,
    seats: Mutex<Seats>,
}

#[derive(Default)]
struct Seats {
    next: u64,
    taken: BTreeMap<u64, Arc<Seat>>,
}

impl Room {
    fn new(cap: usize) -> Self {
        Self { cap, seats: Mutex::default() }
    }

    /// A place for a newcomer, if need be that of whoever has made us wait longest. `None` when
    /// everybody is being served.
    fn enter(self: Arc<Self>) -> Option<Place> {
        let mut seats = self.seats.lock().expect("no panic while the seats are held");
        if seats.taken.len() >= self.cap && !seats.evict() {
            return None;
        }
        let number = seats.next;
        seats.next += 1;
        let seat = Arc::new(Seat::default());
        seats.taken.insert(number, seat.clone());
        drop(seats);
        Some(Place { room: self, number, seat })
    }

    fn make_place(&self) {
        self.seats.lock().expect("no panic while the seats are held").evict();
    }
}

impl Seats {
    fn evict(&mut self) -> bool {
        let waited_for = |(number, seat): (&u64, &Arc<Seat>)| Some((seat.waiting_since()?, *number));
        let Some((_, number)) = self.taken.iter().filter_map(waited_for).min() else { return false };
        self.taken.remove(&number).expect("it was just found").leave();
        true
    }
}

/// A seat taken; given back when dropped.
struct Place {
    room: Arc<Room>,
    number: u64,
    seat: Arc<Seat>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.seats.lock().expect("no panic while the seats are held").taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests;
