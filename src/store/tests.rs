//! The store from outside, and from below.

mod faulty;
mod script;
mod support;

mod groups;
mod journal;
mod kept;
mod model;
mod queue;

mod crash;
mod damage;
mod open;
mod writer;
