//! What is decided, and in which words.
//!
//! Pure: no async, no I/O, no clock, no randomness, no neighbour's JSON. Everything here can be
//! tested by calling it. Types that are kept in the store or shown to operators derive `serde`;
//! their names there are a contract.

pub mod observed;
pub mod user;

pub mod case;
pub mod event;
pub mod evidence;
pub mod link;
pub mod queue;
pub mod seen;
pub mod subscription;

pub mod plan;
pub mod rules;

pub mod adopt;
pub mod checkup;
pub mod codes;
pub mod conflict;
pub mod coverage;
pub mod digest;
pub mod drift;
pub mod expiry;
pub mod guard;
pub mod mapping;
pub mod patch;
pub mod retry;
pub mod roles;
pub mod scope;
pub mod undo;

pub mod lint;
pub mod pulse;
pub mod simulate;
