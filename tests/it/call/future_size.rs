//! The size of the futures of nested calls, and the stack that they need.

use std::cell::Cell;
use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;

use idem_runtime::{
    Error, Store, Verdict, call, idempotent, observe_async, peek_async, settle_async, with_store,
    with_store_async,
};
use idem_tests::form::tokio_alone;
use idem_tests::plain::yield_now;

/// What a level may add to the future of its caller.
const GROWTH_MAX: usize = 1_500;
const KEPT: usize = 8 * 1_024;

thread_local! {
    static LOWEST: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Notes the address of the stack.
#[inline(never)]
fn note_stack() {
    let here = 0_u8;
    LOWEST.set(LOWEST.get().min(&raw const here as usize));
}

/// A body that keeps eight KiB over an await.
async fn innermost(n: u32) -> Result<u32, Error> {
    let kept = [1_u8; KEPT];
    note_stack();
    yield_now().await;
    note_stack();
    Ok(n + black_box(&kept).iter().map(|byte| u32::from(*byte)).sum::<u32>() / 8_192)
}

/// Functions that call each other, and the sizes of their futures from the innermost.
macro_rules! levels {
    ($module:ident($n:ident): #$attribute:tt $($level:ident calls $inner:path,)*) => {
        #[allow(dead_code, reason = "some levels are measured alone")]
        mod $module {
            use super::*;

            $(
                #$attribute
                pub(super) async fn $level($n: u32) -> Result<u32, Error> {
                    let kept = [2_u8; 64];
                    let inner = $inner($n).await;
                    black_box(&kept);
                    inner
                }
            )*

            pub(super) fn sizes() -> Vec<usize> {
                vec![size_of_val(&innermost(1)), $(size_of_val(&$level(1)),)*]
            }
        }
    };
}

macro_rules! sixteen_levels {
    ($module:ident($n:ident): #$attribute:tt) => {
        levels! { $module($n): #$attribute
            l1 calls innermost, l2 calls l1, l3 calls l2, l4 calls l3, l5 calls l4, l6 calls l5, l7 calls l6,
            l8 calls l7, l9 calls l8, l10 calls l9, l11 calls l10, l12 calls l11, l13 calls l12, l14 calls l13,
            l15 calls l14, l16 calls l15,
        }
    };
}

sixteen_levels! { annotated(n): #[idempotent(key = n)] }
sixteen_levels! { plain(n): #[inline(never)] }
sixteen_levels! { recovered(n): #[idempotent(key = n, on_interrupt = recover(large_hook(n).await))] }
sixteen_levels! { detached(n): #[idempotent(key = n, detach)] }

/// A recovery hook that keeps eight KiB over an await.
async fn large_hook(n: u32) -> Verdict<u32> {
    match innermost(n).await {
        Ok(n) => Verdict::Done(n),
        Err(_) => Verdict::Unknown,
    }
}

fn check_growth(what: &str, sizes: &[usize]) {
    for (level, pair) in sizes.windows(2).enumerate() {
        assert!(pair[1] <= pair[0] + GROWTH_MAX, "{what}, level {}: {sizes:?}", level + 1);
    }
}

#[test]
fn a_level_of_nested_calls_adds_at_most_1500_bytes_to_the_future() {
    check_growth("annotated", &annotated::sizes());
    check_growth("with a hook", &recovered::sizes());
    check_growth("detached", &detached::sizes());
}

#[test]
fn a_wrapper_of_a_call_holds_its_future_once() {
    let store = Store::temporary().unwrap();
    // Not boxed by a call.
    let inner = || async { innermost(1).await };
    let plain = size_of_val(&inner());
    let wrapped = [
        ("with_store_async", size_of_val(&with_store_async(&store, inner()))),
        ("observe_async", size_of_val(&observe_async(inner()))),
        ("peek_async", size_of_val(&peek_async(inner()))),
        ("settle_async", size_of_val(&settle_async(Verdict::Done(1), inner()))),
        ("run_async", size_of_val(&call("size.run").key(&1).run_async(inner))),
        ("recover_async", size_of_val(&call("size.recover").key(&1).recover_async(|| large_hook(1)))),
        ("detach", size_of_val(&call("size.detach").key(&1).detach().run_async(inner))),
        ("detach recover_async", {
            size_of_val(&call("size.both").key(&1).detach().recover_async(|| large_hook(1)))
        }),
    ];
    for (what, size) in wrapped {
        assert!(size <= plain + GROWTH_MAX, "{what}: {size} bytes for a future of {plain}");
    }
}

#[test]
fn nested_wrappers_of_a_call_add_at_most_1500_bytes_each() {
    let store = Store::temporary().unwrap();
    let sizes = [
        size_of_val(&annotated::l1(1)),
        size_of_val(&observe_async(annotated::l1(1))),
        size_of_val(&with_store_async(&store, observe_async(annotated::l1(1)))),
        size_of_val(&observe_async(with_store_async(&store, observe_async(annotated::l1(1))))),
    ];
    check_growth("wrappers", &sizes);
}

/// The stack of a future that tokio polls on a thread of its own.
fn stack_of<F>(make: fn() -> F) -> usize
where
    F: Future<Output = Result<u32, Error>> + Send + 'static,
{
    let measure = move || {
        let store = Store::temporary().unwrap();
        let top = 0_u8;
        with_store(&store, || {
            let calls = Box::pin(make());
            tokio_alone().block_on(calls).unwrap();
        });
        (&raw const top as usize) - LOWEST.get()
    };
    let builder = std::thread::Builder::new().stack_size(64 << 20);
    builder.spawn(measure).unwrap().join().unwrap()
}

#[test]
fn four_nested_calls_need_at_most_twice_the_stack_of_plain_functions() {
    let (annotated, plain) = (stack_of(|| annotated::l4(1)), stack_of(|| plain::l4(1)));
    assert!(annotated <= 2 * plain, "{annotated} bytes of stack, and {plain} without the attribute");
}

#[test]
fn sixteen_nested_calls_can_be_spawned() {
    let store = Store::temporary().unwrap();
    let scoped = store.clone();
    tokio_alone().block_on(async {
        // The compiler proves here that the future is `Send`. A boxed future needs no proof after that.
        let calls: Pin<Box<dyn Future<Output = Result<u32, Error>> + Send>> = Box::pin(annotated::l16(1));
        let spawned = tokio::spawn(async move { with_store_async(&scoped, calls).await });
        assert_eq!(spawned.await.unwrap().unwrap(), 2);
        // Without a store, as it stands in a program.
        let bare = tokio::spawn(annotated::l16(2));
        drop(bare.await);
    });
    assert_eq!(store.stats().unwrap().records, 16);
}
