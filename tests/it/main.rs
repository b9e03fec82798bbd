//! The integration tests: one binary, one file a topic.

mod process;
mod stage;

mod adopt;
mod alerts;
mod backup;
mod commands;
mod coverage;
mod dashboard;
mod demo;
mod deploy;
mod docs;
mod doctor;
mod events;
mod flow;
mod init;
mod kill;
mod lint;
mod mass;
mod operators;
mod people;
mod preview;
mod reload;
mod rotation;
mod scim_server;
mod simulate;
mod supervisor;
mod tenant;
mod tidy;
mod traces;
