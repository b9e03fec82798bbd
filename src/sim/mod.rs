//! Simulators of the two neighbours, for `cxone-sync demo` and for the tests: Microsoft Graph with its
//! login endpoint ([`GraphSim`]) and NICE CXone's SCIM service with its token endpoint ([`CxoneSim`]).
//!
//! Both serve real HTTP on loopback and keep state, so that what is tested is what goes over the wire
//! and what is left behind, not which function was called. They are an independent reading of the
//! two APIs: nothing here shares a type with the clients, so that a misreading in a client shows.
//!
//! Each simulator is a handle that can be cloned; the server ends with the last handle, or at `stop`.
//! Whoever holds a handle changes the directory directly ([`GraphSim::add_user`], …), breaks things
//! ([`Faults`]) and looks at what arrived ([`CxoneSim::writes`], [`GraphSim::requests`], …).

mod clock;
mod cxone;
mod dice;
mod faults;
mod graph;
mod server;
mod tokens;
mod wire;

pub use clock::SimClock;
pub use cxone::{CxoneOptions, CxoneSim, Dialect, Lists, Overlap, PatchAnswer, WriteRecord};
pub use faults::{DeliveryFaults, Fault, Faults, RetryAfter, What, When};
pub use graph::{
    DeliveryOptions, DeliveryStats, DeltaExpiry, DeltaOptions, GraphOptions, GraphSim, SubscriptionInfo,
};
pub use server::{Hook, Load, Phase, RequestRecord};

#[cfg(test)]
mod tests;
