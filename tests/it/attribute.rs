//! What the attribute accepts and how it identifies a call.

// Methods that `#[async_trait]` has boxed.
mod async_trait;
// `codec`: the stored form of a result.
mod codec;
// `skip` and `fingerprint`: the arguments that are compared.
mod fingerprint;
// Options and arguments from `macro_rules!`.
mod fragments;
// One name, one function.
mod identity;
// The attribute beside `#[tracing::instrument]` and others.
mod instrument;
// `key`: the identity of a call.
mod key;
// Every limit, and one beyond it.
mod limits;
// Generated code under every lint.
mod lints;
// `name` and `was`: the identity of a function.
mod names;
// Private structs of other crates, such as the numbers of `serde_json`.
mod private_structs;
// Shapes of blocking functions.
mod shapes;
// Shapes of async functions.
mod shapes_async;
// Shapes of functions with `tx`, `recover`, `classify` and `detach`.
mod shapes_modes;
