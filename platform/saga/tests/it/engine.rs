//! The engine where time matters.
