//! One file per option or scenario.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by a panic, also in a function that several tests share"
)]

mod async_trait;
mod instrument;
mod shapes;
mod shapes_async;
mod shapes_modes;
mod shapes_support;
mod strict;
mod waiters;
mod cut_off;
mod on_err;
mod on_interrupt;
mod concurrency;
#[cfg(unix)]
mod worker;
#[cfg(unix)]
mod processes;
#[cfg(unix)]
mod stealing;
#[cfg(target_os = "linux")]
mod owners;
#[cfg(unix)]
mod crash;
#[cfg(unix)]
mod paths;
mod key;
mod fingerprint;
mod lifetimes;
mod operators;
mod codec;
#[cfg(unix)]
mod examples;
#[cfg(unix)]
mod examples_saga;
mod errors;
mod nested;
mod names;
mod limits;
mod books;
mod tx;
mod tx_beside;
mod tx_connection;
mod tx_hostile;
mod tx_refused;
mod wait;
mod scoped;
mod events;
mod secrets;
mod executor;
mod recover;
#[cfg(unix)]
mod damage;
#[cfg(unix)]
mod shared;
#[cfg(unix)]
mod store_lifecycle;
#[cfg(target_os = "linux")]
mod full_disk;
mod itself;
mod detach;
mod detach_ends;
mod detach_span;
#[cfg(unix)]
mod tx_crash;
mod recover_window;
mod tokens;
mod interplay;
mod classify;
#[cfg(unix)]
mod recover_late;
#[cfg(unix)]
mod waiters_across;
#[cfg(unix)]
mod tx_processes;
#[cfg(target_os = "linux")]
mod failure_matrix;
mod tidy;
mod torture_checks;
#[cfg(unix)]
mod torture_faults;
