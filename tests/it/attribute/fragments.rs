//! Options and arguments that a `macro_rules!` macro hands in.
#![allow(
    clippy::cast_sign_loss,
    clippy::used_underscore_binding,
    reason = "the fragments are written so on purpose"
)]

use idem_runtime::{Error, Verdict, idempotent};

use crate::support::runs_once::{fresh, runs_once};

/// Defines a function whose options and arguments are fragments.
macro_rules! handler {
    ($function:ident($($arg:ident: $ty:ty),*) -> $output:ty, $key:expr, $($option:ident = $value:expr),*) => {
        #[idempotent(key = $key, $($option = $value),*)]
        fn $function($($arg: $ty),*) -> $output {
            let _moved = ($($arg,)*);
            Ok(fresh())
        }
    };
}

handler!(of_tuple(tenant: String, id: u64) -> Result<u64, Error>, (tenant, id), name = "fragments.of_tuple");
handler!(of_sum(a: u64) -> Result<u64, Error>, a + 1, name = concat!("fragments.", "of_sum"));
handler!(of_cast(a: i64) -> Result<u64, Error>, a as u64, name = "fragments.of_cast");
handler!(of_unused(_event: (u64, u64)) -> Result<u64, Error>, _event.0, name = "fragments.of_unused");
handler!(
    of_modes(id: u64) -> Result<u64, String>, id,
    name = "fragments.of_modes",
    on_interrupt = rerun(3),
    on_err = remember,
    ttl = "30d",
    keep_result = "1d",
    wait = "5s",
    codec = json,
    fingerprint = none,
    map_err = |error| error.to_string(),
    crate = idem_runtime
);
handler!(
    of_recover(id: u64) -> Result<u64, Error>, (id, 1 + 1),
    name = "fragments.of_recover",
    on_interrupt = recover(Verdict::<u64>::Unknown),
    fingerprint = (id, id + 1)
);

#[test]
fn a_fragment_is_read_as_if_it_stood_in_the_attribute() {
    runs_once(|n| of_tuple("eu".to_owned(), n));
    runs_once(of_sum);
    runs_once(|n| of_cast(i64::try_from(n).unwrap()));
    runs_once(|n| of_unused((n, 1)));
    runs_once(of_modes);
    runs_once(of_recover);
}

#[test]
fn fragments_inside_a_tuple_are_lent_too() {
    macro_rules! defined {
        ($tenant:ident, $n:ident, $left:expr, $right:expr) => {
            #[idempotent(name = "fragments.defined", key = ($left, $right))]
            fn defined($tenant: String, $n: u64) -> Result<u64, Error> {
                drop($tenant);
                Ok(fresh() + $n - $n)
            }
        };
    }
    defined!(tenant, n, tenant, n + 1);
    runs_once(|n| defined("eu".to_owned(), n));
}
