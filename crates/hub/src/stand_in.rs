//! A stand-in hub.
