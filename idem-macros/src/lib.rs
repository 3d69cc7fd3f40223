//! The `#[idempotent]` attribute of `idem-runtime`. Depend on `idem-runtime`, which exports it.
//!
//! In reading order: `args` is the grammar, `options` and `duration` what it means, `func` and `shape` the function
//! it is written on, `rules` what must not be written together, `plan` the outcome of all that, `expand` the Rust
//! made of it.

use proc_macro2::TokenStream;

use crate::{errors::Errors, func::Func, options::Options, plan::Plan};

mod duration;
mod errors;
mod expand;
mod expr;
mod func;
mod mentions;
mod options;
mod plan;
mod rules;
mod shape;
mod spelling;
#[cfg(test)]
mod tests;
mod values;

/// Makes a function run once per key: its result is recorded in a store, and a call with the same key is answered
/// with it.
///
/// ```
/// use idem_runtime::{Error, Store, idempotent};
///
/// #[derive(serde::Serialize)]
/// struct Order {
///     id: String,
///     cents: u64,
/// }
///
/// #[idempotent(name = "shop.charge", key = order.id)]
/// fn charge(order: &Order) -> Result<String, Error> {
///     println!("charging {}", order.cents);
///     Ok(format!("receipt for {}", order.id))
/// }
///
/// idem_runtime::init(Store::temporary()?)?;
/// let order = Order { id: "A-17".to_owned(), cents: 1_999 };
/// let receipt = charge(&order)?;
/// assert_eq!(charge(&order)?, receipt); // replayed: nothing is printed
/// # Ok::<(), Error>(())
/// ```
///
/// The signature does not change. The body becomes the closure of one call of the builder
/// [`idem_runtime::call`](https://docs.rs/idem-runtime/latest/idem_runtime/fn.call.html), with one method per
/// option; use the builder itself for loops, closures, and handlers that cannot carry an attribute.
///
/// # Where it can stand
///
/// On any `fn` or `async fn` with a body that returns a `Result`, by whatever alias: free functions, methods with any
/// receiver, methods of trait implementations, default methods of traits, `#[async_trait]` methods (with
/// `#[async_trait]` on the `impl`, as always), with generics, `impl Trait` arguments, patterns and lifetimes. The
/// `Ok` value must be `Serialize` and `DeserializeOwned`; the error must be `From<idem_runtime::Error>`, or see
/// [`map_err`](#map_err).
///
/// A future is `Send` if it is without the attribute. Above `#[tracing::instrument]` every call gets a span, below
/// it as well; above `#[idempotent]`, the span covers replays too.
///
/// Not on a `const fn`, an `extern fn`, a method without a body, or a function that returns `impl Trait`.
///
/// ```compile_fail
/// # use idem_runtime::{Error, idempotent};
/// #[idempotent(key = id)]
/// const fn charge(id: u64) -> Result<u64, Error> {
///     Ok(id)
/// }
/// ```
///
/// # `key`
///
/// Required: what identifies a call, an expression over the arguments. It is evaluated once, before the body, and
/// borrows what it names, so the body may still move its arguments; the elements of a tuple are borrowed one by one.
/// `?` works in it, and `.await` in an `async fn`.
///
/// ```
/// # use idem_runtime::{Error, Store, idempotent, with_store};
/// #[idempotent(key = (tenant, user.to_lowercase(), 7))]
/// fn welcome(tenant: String, user: &str) -> Result<String, Error> {
///     Ok(format!("{user}@{}", { tenant }))
/// }
/// # let welcomed = with_store(&Store::temporary()?, || welcome("eu".to_owned(), "Ann"))?;
/// # assert_eq!(welcomed, "Ann@eu");
/// # Ok::<(), Error>(())
/// ```
///
/// Keys are text, integers, `bool`, `char`, bytes, UUIDs, and tuples, sequences, structs and enums of these. A `None`,
/// an empty text, a float, a map, and more than 1,024 bytes are refused when the call is made, with
/// `ErrorKind::BadKey`: a lost id must never become a record that everybody shares. For the same reason a key that
/// uses none of the arguments does not compile.
///
/// # `name`
///
/// `name = "shop.charge"` identifies the function; a call is named by name and key together. Without it the name is
/// the path, `my_crate::shop::charge`, and moving or renaming the function forgets its records. It is required on
/// methods, and where the signature mentions `Self`: the macro cannot see which type it is in. Give a literal or a
/// constant of at most 200 bytes. Two functions of one name are an error when the second one is called.
///
/// A type or const parameter that no argument mentions must be in the key:
///
/// ```
/// # use idem_runtime::{Error, idempotent};
/// #[idempotent(key = (std::any::type_name::<T>(), id))]
/// fn load<T: Default + serde::Serialize + serde::de::DeserializeOwned>(id: u64) -> Result<T, Error> {
///     let _ = id;
///     Ok(T::default())
/// }
/// ```
///
/// # `was`
///
/// `was("billing::charge", "shop.pay")` are earlier names of the function: their records still count. An older program
/// does not know the new name: stop the last one that runs under an old name before the first one runs under the new,
/// or give the function its old name with `name` and leave it.
///
/// # `skip`
///
/// A later call with the same key must bring the same arguments, or it is refused with `ErrorKind::Mismatch`. So all
/// arguments must be `Serialize`, `self` included. `skip(gateway, self)` leaves some out: clients, connections,
/// timestamps, whatever may differ from retry to retry.
///
/// ```
/// # use idem_runtime::{Error, idempotent};
/// # struct Gateway;
/// #[idempotent(key = order_id, skip(gateway, attempt))]
/// fn charge(gateway: &Gateway, order_id: &str, cents: u64, attempt: u32) -> Result<u64, Error> {
///     # let _ = (gateway, order_id, attempt);
///     Ok(cents)
/// }
/// ```
///
/// An argument taken apart by a pattern is compared by its parts, `Point { x, y }: Point` by `x` and `y`; an argument
/// `_` is not compared, since the body cannot see it. A `&mut` argument must be skipped: a replay gives the result,
/// but does not repeat what the body changed through it. A `HashSet` cannot be compared, as its order changes from
/// set to set.
///
/// # `fingerprint`
///
/// `fingerprint = order.total` is compared instead of the arguments; `fingerprint = none` compares nothing. Tuples
/// are borrowed as in `key`.
///
/// # `ttl`, `keep_result`
///
/// `ttl` is how long the call is remembered after it was completed, `"forever"` by default: after it, the same key
/// runs again. `keep_result` is how long its result is kept, `"30d"` by default: after it, a duplicate is refused with
/// `ErrorKind::ResultGone`, but never run again. `keep_result = "0s"` stores no result at all, which is right for
/// secrets.
///
/// Durations are literals of one number and a unit, `ms`, `s`, `m`, `h`, `d` or `w`, checked when the program is
/// built, or expressions of type `Duration`.
///
/// ```
/// # use idem_runtime::{Error, idempotent};
/// # use std::time::Duration;
/// # const PATIENCE: Duration = Duration::from_secs(5);
/// #[idempotent(key = id, ttl = "365d", keep_result = "12h", wait = PATIENCE)]
/// fn one_time_password(id: u64) -> Result<String, Error> {
///     Ok(id.to_string())
/// }
/// ```
///
/// # `wait`
///
/// How long a duplicate waits for a running call, `"30s"` by default; then it is refused with `ErrorKind::Running`
/// while the call goes on. `wait = "0s"` refuses at once.
///
/// # `on_err`
///
/// What it means that the body returned `Err`:
///
/// - `release`, the default: nothing has happened, the next call runs. A timeout is not such an error.
/// - `remember`: the error is the answer, it is recorded and replayed. It must be `Serialize` and `DeserializeOwned`.
/// - `in_doubt`: nobody knows; nothing is repeated until the call is settled.
/// - `classify(function)`: one of these, by a look at the error; `function` is a `Fn(&E) -> OnErr`. The error must be
///   storable as with `remember`.
///
/// ```
/// # use idem_runtime::{Error, OnErr, idempotent};
/// #[derive(Debug, serde::Serialize, serde::Deserialize)]
/// enum PayError {
///     Declined,
///     Unreachable,
///     Unknown(String),
/// }
///
/// impl From<Error> for PayError {
///     fn from(error: Error) -> Self {
///         Self::Unknown(error.to_string())
///     }
/// }
///
/// #[idempotent(key = id, on_err = classify(|error: &PayError| match error {
///     PayError::Declined => OnErr::Remember,
///     PayError::Unreachable => OnErr::Release,
///     PayError::Unknown(_) => OnErr::InDoubt,
/// }))]
/// fn pay(id: u64) -> Result<u64, PayError> {
///     if id == 0 { Err(PayError::Declined) } else { Ok(id) }
/// }
/// ```
///
/// # `on_interrupt`
///
/// What the next caller does about a call that was cut off midway, by a crash, a panic or a dropped future:
///
/// - `refuse`, the default: it is in doubt and not repeated; the caller gets `ErrorKind::InDoubt`.
/// - `rerun`: it runs again, five attempts in all. `rerun(3)` makes it three, `rerun(unlimited)` does not stop. A first
///   attempt is not forced to disk, so a power cut may make it forgotten; it is not counted then.
/// - an expression of type `OnInterrupt`, for what is decided when the program runs.
///
/// ```
/// # use idem_runtime::{Error, OnInterrupt, idempotent};
/// #[idempotent(key = id, on_interrupt = mode, skip(mode))]
/// fn deliver(id: u64, mode: OnInterrupt) -> Result<u64, Error> {
///     Ok(id)
/// }
/// ```
///
/// - `recover(EXPR)`: ask whether it was done, where that can be found out. `EXPR` is over the arguments, which the
///   body may still move, may `.await` in an `async fn`, and gives `Verdict::Done(result)`, `Verdict::NotDone` or
///   `Verdict::Unknown`, or a `Result` of these.
///
/// ```
/// # use idem_runtime::{Error, Verdict, idempotent};
/// # struct Provider;
/// # impl Provider {
/// #     async fn find(&self, _: &str) -> Result<Verdict<String>, Error> { Ok(Verdict::NotDone) }
/// #     async fn charge(&self, id: String) -> Result<String, Error> { Ok(id) }
/// # }
/// #[idempotent(key = id, skip(provider), on_interrupt = recover(provider.find(&id).await))]
/// async fn charge(provider: &Provider, id: String) -> Result<String, Error> {
///     provider.charge(id).await
/// }
/// ```
///
/// # `tx`
///
/// `tx = conn` writes the record in the same SQLite transaction as the effect, exactly once: `conn`, which is then not
/// compared, derefs to a `rusqlite::Connection`. For a sync `fn`. Needs the feature `tx` and the tables, which
/// `idem_runtime::install` makes. As the transaction decides everything, it goes with none of `on_interrupt`, `store`,
/// `detach` and `on_err = in_doubt`.
///
/// ```
/// # use idem_runtime::{Error, idempotent};
/// # use rusqlite::Connection;
/// #[idempotent(key = order_id, tx = conn, map_err = |error| Box::new(error).into())]
/// fn book(conn: &Connection, order_id: &str) -> Result<usize, Box<dyn std::error::Error>> {
///     Ok(conn.execute("INSERT INTO booked VALUES (?1)", [order_id])?)
/// }
/// ```
///
/// # `detach`
///
/// The body of an `async fn` runs to its end in a tokio task of its own, though its caller goes away; a retry joins
/// it. The body outlives its caller, so every argument must be `Send` and owned: take `Arc<Client>` and
/// `self: Arc<Self>`.
///
/// ```
/// # use idem_runtime::{Error, idempotent};
/// #[idempotent(key = order_id, detach)]
/// async fn charge(order_id: String) -> Result<usize, Error> {
///     Ok(order_id.len())
/// }
/// ```
///
/// # `codec`
///
/// How the result is stored: `bincode`, the default, or `json`. A result that bincode cannot carry is stored as JSON.
///
/// # `store`
///
/// `store = EXPR` is where the call is recorded, for example `self.store` or an argument, which is then not compared.
/// Without it, it is the store in scope (`with_store`), then the one given to `init`.
///
/// ```
/// # use idem_runtime::{Error, Store, idempotent};
/// struct Shop {
///     store: Store,
/// }
///
/// impl Shop {
///     #[idempotent(name = "shop.charge", key = order_id, skip(self), store = self.store)]
///     async fn charge(&self, order_id: &str) -> Result<u64, Error> {
///         Ok(order_id.len() as u64)
///     }
/// }
/// ```
///
/// # `map_err`
///
/// `map_err = FUNCTION` turns an `idem_runtime::Error` into the error of the function, where `From` is not
/// implemented or not wanted.
///
/// ```
/// # use idem_runtime::idempotent;
/// #[idempotent(key = path, map_err = std::io::Error::other)]
/// fn publish(path: &str) -> std::io::Result<u64> {
///     Ok(path.len() as u64)
/// }
///
/// #[idempotent(key = id, map_err = |error| error.to_string())]
/// fn send(id: u64) -> Result<u64, String> {
///     Ok(id)
/// }
/// ```
///
/// # `crate`
///
/// `crate = PATH` is where `idem_runtime` is found, if it was renamed or is reached through another crate.
///
/// ```
/// mod vendor {
///     pub use idem_runtime as idem;
/// }
///
/// #[vendor::idem::idempotent(key = id, crate = vendor::idem)]
/// fn charge(id: u64) -> Result<u64, vendor::idem::Error> {
///     Ok(id)
/// }
/// ```
#[proc_macro_attribute]
pub fn idempotent(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    expansion(args.into(), item.into()).into()
}

/// Returns the expansion, or all mistakes and the unchanged item, so that its callers still compile.
fn expansion(args: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let func = syn::parse2::<Func>(item.clone());
    let options = Options::parse(args, func.as_ref().ok(), &mut errors);
    let plan = errors.take(func).and_then(|func| Plan::new(options, func, &mut errors));
    match errors.finish(plan) {
        Ok(Some(plan)) => expand::expand(&plan),
        Ok(None) => item,
        Err(errors) => errors.into_iter().chain(item).collect(),
    }
}
