//! The simulators from outside, over HTTP, as a client sees them.

mod cxone;
mod delivery;
mod graph;
mod harness;
