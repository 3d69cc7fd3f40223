//! One file per option or scenario.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by a panic, also in a function that several tests share"
)]

mod async_trait;
mod books;
mod checkpoints;
mod classify;
mod codec;
mod concurrency;
#[cfg(unix)]
mod crash;
mod cut_off;
#[cfg(unix)]
mod damage;
mod detach;
mod detach_ends;
mod detach_span;
mod errors;
mod events;
#[cfg(unix)]
mod examples;
#[cfg(unix)]
mod examples_saga;
mod executor;
#[cfg(target_os = "linux")]
mod failure_matrix;
mod fingerprint;
#[cfg(target_os = "linux")]
mod full_disk;
mod instrument;
mod interplay;
mod itself;
mod key;
mod lifetimes;
mod limits;
mod lines;
#[cfg(unix)]
mod lone;
mod names;
mod nested;
mod on_err;
mod on_interrupt;
mod operators;
#[cfg(target_os = "linux")]
mod owners;
#[cfg(unix)]
mod paths;
#[cfg(unix)]
mod processes;
mod recover;
#[cfg(unix)]
mod recover_late;
mod recover_window;
mod replaced;
mod scoped;
mod secrets;
mod shapes;
mod shapes_async;
mod shapes_modes;
mod shapes_support;
#[cfg(unix)]
mod shared;
#[cfg(unix)]
mod stealing;
#[cfg(unix)]
mod store_lifecycle;
mod strict;
mod tidy;
mod tokens;
mod torture_checks;
#[cfg(unix)]
mod torture_faults;
mod tx;
mod tx_beside;
mod tx_connection;
#[cfg(unix)]
mod tx_crash;
mod tx_hostile;
#[cfg(unix)]
mod tx_processes;
mod tx_refused;
mod wait;
mod waiters;
#[cfg(unix)]
mod waiters_across;
#[cfg(unix)]
mod worker;
