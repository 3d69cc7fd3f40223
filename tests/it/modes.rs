//! What an option makes of an error, an interruption or an expired record.

// The failure table of `docs/design.md`.
#[cfg(target_os = "linux")]
mod failure_matrix;
// `ttl` and `keep_result`.
mod lifetimes;
// `on_err`: the meaning of an `Err`.
mod on_err;
// `on_interrupt`: a call whose earlier attempt was cut off.
mod on_interrupt;
// `recover`: the hook that settles an interrupted call.
pub(crate) mod recover;
// The settle window where boots cannot be compared.
#[cfg(target_os = "linux")]
mod recover_boots;
// One answer of the hook for every caller that waits for it.
mod recover_answer;
// Late requests of an attempt before the recovery.
#[cfg(unix)]
mod recover_late;
// A hook that ends after an operator took or settled its call.
mod recover_fenced;
// The window of `recover`.
mod recover_window;
