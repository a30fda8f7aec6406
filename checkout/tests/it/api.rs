//! The interface, through a real client, with servers for peers.

mod holds;
mod lists;
mod outcomes;
mod peers;
mod refusals;
mod replicas;
mod shop;
mod unknowns;
