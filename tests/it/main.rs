//! One file per option or scenario.

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
