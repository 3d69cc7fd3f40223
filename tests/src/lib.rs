//! Support for the tests.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by a panic, also in a function that several tests share"
)]

pub mod deadline;
pub mod form;
pub mod halt;
pub mod hand_clock;
pub mod plain;
pub mod shared;
pub mod subscriber;
