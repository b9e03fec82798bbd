//! cxone-sync keeps the users of NICE CXone right within seconds of a change in Microsoft Entra ID.
//!
//! The modules stand in reading order: what is decided (`domain`), what is kept (`store`), the two
//! neighbours (`graph`, `cxone`), what moves the work (`worker`), how the world reaches us (`web`),
//! and how it is put together (`config`, `app`, `cli`). `ARCHITECTURE.md` has the map.

pub mod domain;
pub mod store;

pub mod cxone;
pub mod graph;

pub mod worker;

pub mod web;

pub mod app;
pub mod cli;
pub mod config;

pub mod clock;
pub mod outbound;
pub mod random;
pub mod shutdown;
pub mod telemetry;

pub mod sim;
