//! Snapshots of whole expansions, and the mistakes found in malformed input. The tests of the runtime call expanded
//! functions.

use proc_macro2::TokenStream;
use quote::quote;

use crate::expansion;

#[track_caller]
fn check(args: TokenStream, item: TokenStream, expected: &TokenStream) {
    assert_eq!(expansion(args, item).to_string(), expected.to_string());
}

/// Returns the messages in order.
fn mistakes(args: &str, item: TokenStream) -> Vec<String> {
    let expanded = expansion(args.parse().unwrap(), item).to_string();
    let messages = expanded.split("compile_error ! {").skip(1).filter_map(|rest| rest.split('}').next());
    messages.map(|message| message.trim().trim_matches('"').to_owned()).collect()
}

#[test]
fn sync_function() {
    check(
        quote! { name = "shop.charge", key = order.id, skip(gateway), keep_result = "12h", on_err = in_doubt },
        quote! {
            /// Charges.
            pub fn charge(gateway: &Gateway, order: &Order, cents: u64) -> Result<Receipt, PayError> {
                gateway.charge(order, cents)
            }
        },
        &quote! {
            /// Charges.
            pub fn charge(gateway: &Gateway, order: &Order, cents: u64) -> Result<Receipt, PayError> {
                ::idem_runtime::call("shop.charge")
                    .key(&order.id)
                    .arg("order", order)
                    .arg("cents", &cents)
                    .keep_result(::core::time::Duration::from_secs(43200u64))
                    .on_err(::idem_runtime::on_err::InDoubt)
                    .run::<Result<Receipt, PayError>, _>(|| -> Result<Receipt, PayError> {
                        gateway.charge(order, cents)
                    })
            }
        },
    );
}

#[test]
fn async_function() {
    check(
        quote! { key = (tenant, order.id), fingerprint = none, on_interrupt = rerun(3), crate = idem },
        quote! {
            async fn charge(tenant: &str, order: Order) -> Result<Receipt, PayError> {
                pay(order).await
            }
        },
        &quote! {
            async fn charge(tenant: &str, order: Order) -> Result<Receipt, PayError> {
                idem::call(::core::concat!(::core::module_path!(), "::", "charge"))
                    .named_by_path()
                    .key(&(&tenant, &order.id))
                    .on_interrupt(idem::OnInterrupt::rerun_at_most(3))
                    .run_async::<Result<Receipt, PayError>, _, _>(move || async move {
                        if let ::core::option::Option::Some(result)
                            = ::core::option::Option::None::<Result<Receipt, PayError> >
                        {
                            return result;
                        }
                        pay(order).await
                    })
                    .await
            }
        },
    );
}

/// The modes are the last options before `run`: `recover` borrows the arguments before the body moves them.
#[test]
fn modes() {
    let steps = |args: TokenStream, item: TokenStream| {
        let expanded = expansion(args, item).to_string().replace(' ', "");
        let (_, steps) = expanded.split_once(".key(&id)").unwrap();
        steps.split(".run").next().unwrap().to_owned()
    };
    let sync = quote! { fn f(id: u64) -> R { body() } };
    let asynchronous = quote! { async fn f(id: u64) -> R { body() } };
    let fixed = quote! { key = id, fingerprint = none };
    let with_conn = quote! { fn f(conn: &mut Connection, id: u64) -> R { body() } };
    for (args, item, expected) in [
        (quote! { #fixed, tx = conn }, with_conn, ".tx(conn)"),
        (quote! { #fixed, tx = self.conn }, sync.clone(), ".tx(&self.conn)"),
        (quote! { #fixed, detach }, asynchronous.clone(), ".detach()"),
        (quote! { #fixed, on_interrupt = recover(ask(&id)) }, sync, ".recover(||ask(&id))"),
        (
            quote! { #fixed, on_interrupt = recover(ask(&id).await) },
            asynchronous,
            ".recover_async(async||ask(&id).await).await",
        ),
    ] {
        assert_eq!(steps(args, item), expected);
    }
}

#[test]
fn every_mistake_is_found_and_the_item_is_kept() {
    let item = quote! {
        const fn charge(order: u64, log: &mut Log) { order }
    };
    let expanded = expansion(quote! { key = "order", tll = "1d", wait = "soon", skip(lgo) }, item.clone());
    assert!(expanded.to_string().ends_with(&item.to_string()), "{expanded}");
    let found = mistakes(r#"key = "order", tll = "1d", wait = "soon", skip(lgo)"#, item);
    assert_eq!(found.len(), 7, "{found:#?}");
}

#[test]
fn a_malformed_option_does_not_hide_the_next() {
    let item = || quote! { fn charge(id: u64) -> Result<u64, Error> { Ok(id) } };
    for (args, expected) in [
        ("key = id,", 0),
        ("", 1),
        ("key = , ttl = 1", 2),
        ("ttl = |a, b|, wait = 1, key = id", 2),
        ("key = id wait = 1", 2),
        ("key = id,, wait = 1", 2),
        ("= 3, key = id", 1),
        ("key = id, key = id, key = id", 2),
    ] {
        let found = mistakes(args, item());
        assert_eq!(found.len(), expected, "{args}: {found:?}");
    }
}
