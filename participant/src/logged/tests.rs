//! The prepare log.
