//! The gRPC interface through a real client, over gRPC servers of the fake peers.

mod holds;
mod lists;
mod outcomes;
mod peers;
mod refusals;
mod replicas;
mod shop;
mod unknowns;
