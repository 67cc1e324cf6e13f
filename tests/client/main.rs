//! The extension, seen from a client.
