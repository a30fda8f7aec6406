//! Calls between services as they really are: over memory and over TCP, with what can go wrong with them.

mod calls;
mod lifecycle;
mod server;
