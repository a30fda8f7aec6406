//! The command as its user sees it.
