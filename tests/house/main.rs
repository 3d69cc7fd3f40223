//! The rules of this repository that no compiler checks.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

// Rules of the attribute and their compile errors.
mod attribute;
// Imports between files.
mod direction;
// Versions, the code map, test names in the documents.
mod documents;
// The length of messages.
mod messages;
// Names that are confined to some modules.
mod placement;
// The files of the crates.
mod sources;
