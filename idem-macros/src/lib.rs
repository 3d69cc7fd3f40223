//! The `#[idempotent]` attribute of `idem-runtime`. Depend on `idem-runtime`, which exports it.
//!
//! A module names only modules that stand above it in the list below.

use proc_macro2::TokenStream;

use crate::{errors::Errors, func::Func, options::Options, plan::Plan};

// The mistakes of one attribute.
mod errors;
// Suggestions for a misspelt name.
mod spelling;
// The form of an expression.
mod expr;
// The names that tokens mention.
mod mentions;
// The annotated function.
mod func;
// The type and const parameters of the function.
mod generics;
// The meaning of an option's value.
mod values;
// Durations.
mod duration;
// The list of options.
mod options;
// The kind of the function, and the place of its body.
mod shape;
// The features that options need.
mod features;
// Options that exclude each other, or that do not fit the function.
mod rules;
// The input of the expansion.
mod plan;
// The expansion.
mod expand;
#[cfg(test)]
mod tests;

/// Runs a function once per key: the store records its result, and a later call with the same key replays it.
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
/// assert_eq!(charge(&order)?, receipt); // Replayed: the body does not run.
/// # Ok::<(), Error>(())
/// ```
///
/// The signature does not change. The body becomes the closure of one call of the builder
/// [`idem_runtime::call`](https://docs.rs/idem-runtime/latest/idem_runtime/fn.call.html), with one method per option.
/// `#[track_caller]` therefore has no effect in the body.
/// Use the builder itself for loops, closures, and handlers that cannot have an attribute.
///
/// | option | sets | default |
/// |---|---|---|
/// | [`key`](#key) | the key of a call | required |
/// | [`name`](#name) | the name of the function | its path |
/// | [`same_for_types`](#same_for_types) | whether one record serves every type | no |
/// | [`was`](#was) | earlier names | none |
/// | [`skip`](#skip) | arguments that are not compared | none |
/// | [`fingerprint`](#fingerprint) | a value that is compared instead of the arguments | the arguments |
/// | [`ttl`](#ttl) | the lifetime of the record | `"forever"` |
/// | [`keep_result`](#keep_result) | the lifetime of the result | `"30d"` |
/// | [`wait`](#wait) | the longest wait for a running call | `"30s"` |
/// | [`on_err`](#on_err) | the meaning of an `Err` | `release` |
/// | [`on_interrupt`](#on_interrupt) | the reaction to an interrupted call | `refuse` |
/// | [`tx`](#tx) | the connection whose transaction contains the record | none |
/// | [`detach`](#detach) | whether the body survives its caller | no |
/// | [`codec`](#codec) | the format of the result | `bincode` |
/// | [`store`](#store) | the store | the store in scope |
/// | [`map_err`](#map_err) | the conversion of an `idem_runtime::Error` | `From` |
/// | [`crate`](#crate) | the path of the runtime | `::idem_runtime` |
///
/// # Functions
///
/// The attribute applies to every `fn` and `async fn` with a body that returns a `Result`, under any alias. The
/// function can be free, a method with any receiver, a method of a trait implementation or a default method of a trait.
/// Generics, `impl Trait` arguments, patterns and lifetimes are allowed. With `#[async_trait]` on the `impl`, the
/// attribute applies to its methods too.
///
/// The `Ok` value must be `Serialize` and `DeserializeOwned`. The error must be `From<idem_runtime::Error>`, unless
/// [`map_err`](#map_err) is given.
///
/// A future is `Send` if it is `Send` without the attribute. If `#[tracing::instrument]` is above `#[idempotent]`, its
/// span covers only the body. If it is below, its span covers replays too.
///
/// # `key`
///
/// The key identifies a call of the function; the option is required. The value is an expression over the arguments.
/// The call evaluates it once, before the body. The expression borrows what it names, so the body can still move its
/// arguments. The elements of a tuple or an array are borrowed one by one. The fields of a struct literal are cloned if
/// they are arguments, because their types are fixed. `?` works in the expression, and `.await` works in an
/// `async fn`.
///
/// ```
/// # use idem_runtime::{Error, Store, idempotent, with_store};
/// #[idempotent(name = "welcome", key = (tenant, user.to_lowercase(), 7))]
/// fn welcome(tenant: String, user: &str) -> Result<String, Error> {
///     Ok(format!("{user}@{}", { tenant }))
/// }
/// # let welcomed = with_store(&Store::temporary()?, || welcome("eu".to_owned(), "Ann"))?;
/// # assert_eq!(welcomed, "Ann@eu");
/// # Ok::<(), Error>(())
/// ```
///
/// A key consists of text, integers, `bool`, `char`, bytes and UUIDs, and of tuples, sequences, structs and enums of
/// these. The call refuses `None`, text without a visible character, a float, a map, a `HashSet` and more than 1,024
/// bytes with `ErrorKind::BadKey`. A missing id must never name a record that all calls share. For the same reason, a
/// key that uses no argument does not compile. Text is not normalised: trim it, fold its case or its Unicode form in the
/// expression.
///
/// If neither an argument nor the bound of one mentions a type or const parameter, the key must distinguish its values.
/// Use a constant of the trait. Do not use `std::any::type_name`: two types can have the same one, and a new compiler can
/// change it.
///
/// ```
/// # use idem_runtime::{Error, idempotent};
/// trait Report: Default + serde::Serialize + serde::de::DeserializeOwned {
///     const KIND: &str;
/// }
///
/// #[idempotent(key = (T::KIND, id))]
/// fn load<T: Report>(id: u64) -> Result<T, Error> {
///     let _ = id;
///     Ok(T::default())
/// }
/// ```
///
/// If the key contains a constant of every type parameter, each type has its own records, and the function needs no
/// [`same_for_types`](#same_for_types).
///
/// # `name`
///
/// The name identifies the function; name and key together identify a call. The default is the path, for example
/// `my_crate::shop::charge`. If the function moves or is renamed, its default name changes, and its records no longer
/// count.
///
/// ```
/// # use idem_runtime::{Error, idempotent};
/// const CHARGE: &str = "shop.charge";
///
/// #[idempotent(name = CHARGE, key = id)]
/// fn charge(id: u64) -> Result<u64, Error> {
///     Ok(id)
/// }
/// ```
///
/// The value is a string literal or a constant of at most 200 bytes. Methods need a name, and so does a function whose
/// signature mentions `Self`, because the macro cannot see the type. So does a function inside a function or an `impl`,
/// because the default name does not contain the outer one: without a name, its calls fail with
/// `ErrorKind::DuplicateName`.
///
/// One name belongs to one function. The first call of a name in a process fixes its function, and a call of another
/// function with that name fails with `ErrorKind::DuplicateName`. Its body does not run. Each instance of a generic
/// function is a function of its own: `publish::<Placed>` and `publish::<Cancelled>` are two. The same holds for methods
/// of a generic type, and for default methods of a trait.
///
/// # `same_for_types`
///
/// Says that the function does the same for every type, so its instances share name and records. Use it if a type
/// parameter only carries data, for example `impl AsRef<str>`, a closure, or a gateway that tests replace.
///
/// ```
/// # use idem_runtime::{Error, Store, idempotent, with_store};
/// #[idempotent(name = "send", key = text.as_ref(), skip(text), same_for_types)]
/// fn send(text: impl AsRef<str>) -> Result<usize, Error> {
///     Ok(text.as_ref().len())
/// }
/// # let replayed = with_store(&Store::temporary()?, || send("a").and_then(|_| send(String::from("a"))))?;
/// # assert_eq!(replayed, 1);
/// # Ok::<(), Error>(())
/// ```
///
/// Do not use it if the types differ in what they do: the second type would replay the result of the first.
///
/// # `was`
///
/// Earlier names of the function, whose records still count. A program that does not know the new name writes records
/// under the old one. So stop the last program with an old name before the first one with the new name starts, or keep
/// the old name with [`name`](#name).
///
/// ```
/// # use idem_runtime::{Error, idempotent};
/// #[idempotent(name = "shop.charge", was("billing::charge", "shop.pay"), key = id)]
/// fn charge(id: u64) -> Result<u64, Error> {
///     Ok(id)
/// }
/// ```
///
/// # `skip`
///
/// Arguments that are not compared. A later call with the same key must have equal arguments, else it is refused with
/// `ErrorKind::Mismatch`. So every argument must be `Serialize`, `self` included. Skip clients, connections,
/// timestamps, and all that can differ between retries.
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
/// The names that a pattern binds are compared one by one: `Point { x, y }: Point` by `x` and `y`. An argument `_` is
/// not compared, because the body cannot use it. A `&mut` argument must be skipped: a replay returns the result but
/// does not repeat changes to the argument. The order of a map or of a set does not count.
///
/// An argument that only the call or only the record has is not compared. If call and record share no argument, the
/// call is refused with `Mismatch`.
///
/// # `fingerprint`
///
/// A value that is compared instead of the arguments. `none` compares nothing. Tuples are borrowed as in
/// [`key`](#key).
///
/// ```
/// # use idem_runtime::{Error, idempotent};
/// # struct Order { id: u64, cents: u64 }
/// #[idempotent(key = order.id, fingerprint = order.cents)]
/// fn charge(order: &Order) -> Result<u64, Error> {
///     Ok(order.cents)
/// }
/// ```
///
/// # `ttl`
///
/// The lifetime of the record, from the completion of the call. After it, a call with the same key runs again. The
/// default is `"forever"`.
///
/// ```
/// # use idem_runtime::{Error, idempotent};
/// #[idempotent(key = id, ttl = "365d")]
/// fn charge(id: u64) -> Result<u64, Error> {
///     Ok(id)
/// }
/// ```
///
/// A literal duration is one number and one unit: `ms`, `s`, `m`, `h`, `d` or `w`. The compiler checks it. Any other
/// value is an expression of type `Duration`. If it is zero, the call is refused with `ErrorKind::BadArgument`. A
/// fraction of a millisecond counts as a whole one.
///
/// # `keep_result`
///
/// The lifetime of the result, from the completion of the call. After it, a duplicate is refused with
/// `ErrorKind::ResultGone` and never runs; `Error::failed()` says whether the call had failed. `"0s"` stores no result,
/// which is right for secrets. A result without content, such as `()`, is kept as long as the key. The default is
/// `"30d"`.
///
/// ```
/// # use idem_runtime::{Error, idempotent};
/// #[idempotent(key = id, keep_result = "0s")]
/// fn one_time_password(id: u64) -> Result<String, Error> {
///     Ok(id.to_string())
/// }
/// ```
///
/// # `wait`
///
/// The longest time that a duplicate waits for a running call. After it, the duplicate is refused with
/// `ErrorKind::Running`, and the running call continues. `"0s"` refuses at once. The default is `"30s"`.
///
/// ```
/// # use idem_runtime::{Error, idempotent};
/// # use std::time::Duration;
/// const PATIENCE: Duration = Duration::from_secs(5);
///
/// #[idempotent(key = id, wait = PATIENCE)]
/// fn charge(id: u64) -> Result<u64, Error> {
///     Ok(id)
/// }
/// ```
///
/// # `on_err`
///
/// The meaning of an `Err` that the body returns:
///
/// - `release`, the default: the call did nothing, and the next call runs. A timeout is not such an error.
/// - `remember`: the error is the outcome, and later calls replay it. The error must be `Serialize` and
///   `DeserializeOwned`.
/// - `in_doubt`: the outcome is unknown. No call runs again until the call is settled.
/// - `classify(FUNCTION)`: one of these, chosen by a `Fn(&E) -> OnErr`. The error must then be storable as with
///   `remember`. An error that is not storable takes a `Fn(&E) -> on_err::Unstored`, which cannot choose `remember`.
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
/// The reaction of the next caller to a call that a crash, a panic or a dropped future interrupted:
///
/// - `refuse`, the default: the call stays in doubt, and the caller gets `ErrorKind::InDoubt`.
/// - `rerun`: the body runs again, until five attempts in all did not return. `rerun(3)` allows three; `rerun(unlimited)`
///   has no limit. The limit protects from a body that ends its process, so an attempt that returned does not count. How
///   often a failing message comes again is the decision of its sender or of the broker. The first attempt is not synced
///   to disk, so a power failure can lose its claim. A lost attempt does not count either.
/// - `recover(EXPR)`: the expression asks whether the call was done. It uses the arguments by reference, and can
///   `.await` in an `async fn`. Its value is `Verdict::Done(result)`, `Verdict::NotDone` or `Verdict::Unknown`, or a
///   `Result` of these.
/// - an expression of type `OnInterrupt`, for a mode that is chosen at run time.
///
/// ```
/// # use idem_runtime::{Error, OnInterrupt, Verdict, idempotent};
/// # struct Provider;
/// # impl Provider {
/// #     async fn find(&self, _: &str) -> Result<Verdict<String>, Error> { Ok(Verdict::NotDone) }
/// #     async fn charge(&self, id: String) -> Result<String, Error> { Ok(id) }
/// # }
/// #[idempotent(key = id, skip(provider), on_interrupt = recover(provider.find(&id).await))]
/// async fn charge(provider: &Provider, id: String) -> Result<String, Error> {
///     provider.charge(id).await
/// }
///
/// #[idempotent(key = id, on_interrupt = mode, skip(mode))]
/// fn deliver(id: u64, mode: OnInterrupt) -> Result<u64, Error> {
///     Ok(id)
/// }
/// ```
///
/// # `tx`
///
/// The connection whose transaction contains both the record and the effect: exactly once. The value derefs to a
/// `rusqlite::Connection` and is not compared. The function is a sync `fn`. The option needs the feature `tx`, and the
/// tables that `idem_runtime::install` creates. The option excludes `on_interrupt`, `store`, `detach` and
/// `on_err = in_doubt`.
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
/// Runs the body of an `async fn` to its end in its own tokio task, even if the caller goes away. A retry waits for
/// the same task. The body outlives its caller, so every argument must be owned and `Send`: take `Arc<Client>` and
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
/// The format of the stored result: `bincode`, the default, or `json`. A result that bincode cannot represent is
/// stored as JSON.
///
/// A replay is the recorded value or `ErrorKind::Undecodable`. With `json`, serde alone decides: a row survives fields that
/// were added with `#[serde(default)]`, and it can be read as another value if its type has changed otherwise.
///
/// ```
/// # use idem_runtime::{Error, idempotent};
/// #[idempotent(key = id, codec = json)]
/// fn charge(id: u64) -> Result<u64, Error> {
///     Ok(id)
/// }
/// ```
///
/// # `store`
///
/// The store that records the call, for example `self.store` or an argument; the argument is not compared. The default
/// is the store in scope (`with_store`), else the store given to `init`.
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
/// A function from `idem_runtime::Error` to the error of the function. The default is `From`.
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
/// The path of `idem_runtime`, if the crate is renamed or reached through another crate.
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
///
/// # Compile errors
///
/// The compiler reports every mistake of an attribute at once, and the function still exists. These are mistakes:
///
/// - **Item**: no function, no body, `const fn`, `extern fn`, variadic arguments.
/// - **Return type**: no `Result`, a future, `impl Trait`, a value that borrows, a value or a remembered error that is not
///   serializable. An error that is not `From<idem_runtime::Error>`, without `map_err`.
/// - **Options**: an unknown option or value, an option that is given twice, a malformed duration, `rerun` with a
///   limit below 2, a `?` at the end of a recovery hook, an option whose feature of `idem-runtime` is off.
/// - **`key`**: missing, empty, without an argument, without a type or const parameter that neither an argument nor the
///   bound of one mentions.
/// - **`name`**: missing on a method or beside `Self`, blank, longer than 200 bytes, not constant, repeated in `was`.
/// - **Arguments**: compared although `&mut` or not `Serialize`. A name in `skip` that does not exist. `skip` beside
///   `fingerprint`. A pattern that is compared in an `#[async_trait]` method.
/// - **Lifetimes**: a `ttl` of zero, a `keep_result` longer than `ttl`, an endless `wait`.
/// - **`tx`** on an `async fn` or with an option that it excludes; **`detach`** on a sync `fn` or with an argument
///   that borrows.
///
/// ```compile_fail
/// # use idem_runtime::{Error, idempotent};
/// #[idempotent(key = id)]
/// const fn charge(id: u64) -> Result<u64, Error> {
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
