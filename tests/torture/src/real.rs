//! Sources of the runtime under a checker, word for word but for shuttle's locks (`build.rs` lists them), and stand-ins
//! for the rest that they name.

macro_rules! variants {
    ($($variant:ident in $file:literal)*) => {$(
        #[allow(
            dead_code,
            unused_imports,
            unused_variables,
            missing_docs,
            unreachable_pub,
            clippy::all,
            clippy::pedantic,
            reason = "the runtime's own text, in part"
        )]
        pub(crate) mod $variant {
            include!(concat!(env!("OUT_DIR"), $file));
        }
    )*};
}

variants! {
    sound in "/sound.rs"
    broken in "/broken.rs"
}

/// The modules that the sources name and the checkers do not look into.
#[allow(dead_code, reason = "the sources name it")]
mod stand_ins {
    pub(crate) mod error {
        #[derive(Clone, Debug, PartialEq)]
        pub(crate) struct Error;

        impl Error {
            pub(crate) fn closed() -> Error {
                Error
            }
        }
    }

    /// Deadlines never pass under the checker, so the stand-in keeps none.
    pub(crate) mod watcher {
        use std::sync::Arc;
        use std::task::Waker;
        use std::time::Instant;

        #[derive(Debug)]
        pub(crate) struct Watcher;
        pub(crate) struct Alarm;

        impl Watcher {
            pub(crate) fn is_closed(&self) -> bool {
                false
            }
            pub(crate) fn alarm(self: &Arc<Self>, _: Instant, _: Waker) -> Alarm {
                Alarm
            }
        }
    }
}
