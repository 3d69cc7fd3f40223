//! The contract, through the public interface: a folder for each subject.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by a panic, also in a function that several tests share"
)]

mod attribute;
mod call;
mod modes;
mod processes;
mod store;
mod support;
mod tx;
mod waiting;
