//! The store from outside, and from below.

mod faulty;
mod script;
mod states;
mod support;

mod groups;
mod guard;
mod journal;
mod kept;
mod log;
mod model;
mod queue;
mod survey;

mod backup;
mod crash;
mod damage;
mod events;
mod open;
mod writer;
