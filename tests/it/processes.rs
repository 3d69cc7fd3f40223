//! Several processes: death, steal, example programs.

// Calls between processes.
#[cfg(unix)]
mod calls;
// `kill -9` at every stage.
#[cfg(unix)]
mod crash;
// `examples/saga.rs`, killed at every step.
#[cfg(unix)]
mod example_saga;
// The example programs.
#[cfg(unix)]
mod examples;
// The death of an owner.
#[cfg(target_os = "linux")]
mod owner_death;
// `steal` and late outcomes.
#[cfg(unix)]
mod steal;
