//! One call from its start to its end.

// A call cut off in every way at every await.
#[cfg(unix)]
mod await_points;
// Panics, dropped futures and timeouts.
mod cancellation;
// Many threads and tasks at once.
mod concurrency;
// `detach`: a body that outlives its caller.
mod detach;
// The ends of a detached call.
mod detach_ends;
// The tracing span of a detached call.
mod detach_span;
// The texts and fields of errors.
mod errors;
// `tracing` events.
mod events;
// Async calls without a runtime.
mod executor;
// The size of futures, and the stack that they need.
mod future_size;
// Calls inside calls.
mod nested_calls;
// Pairs of options.
mod option_pairs;
// An outer call that resumes over completed inner calls.
mod sagas;
// Values that appear in no message and no event.
mod secrets;
// The store of a call: its own, the one in scope, the default.
mod store_in_scope;
// `current().token()`.
mod tokens;
