//! The runtime's own sources under a checker (see `build.rs`): `decide`, `flight`, `queue`, `codec` word for word, with
//! shuttle's locks, beside the least of what they name.

macro_rules! sources {
    ($($variant:ident in $folder:literal)*) => {$(
        #[allow(dead_code, unused_imports, missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "of the runtime")]
        pub(crate) mod $variant {
            pub(crate) mod canonical { include!(concat!(env!("OUT_DIR"), $folder, "canonical.rs")); }
            pub(crate) mod digest { include!(concat!(env!("OUT_DIR"), $folder, "digest.rs")); }
            pub(crate) mod key { include!(concat!(env!("OUT_DIR"), $folder, "key.rs")); }
            pub(crate) mod codec { include!(concat!(env!("OUT_DIR"), $folder, "codec.rs")); }
            pub(crate) mod policy { include!(concat!(env!("OUT_DIR"), $folder, "policy.rs")); }
            pub(crate) mod record { include!(concat!(env!("OUT_DIR"), $folder, "record.rs")); }
            pub(crate) mod decide { include!(concat!(env!("OUT_DIR"), $folder, "decide.rs")); }
            pub(crate) mod signal { include!(concat!(env!("OUT_DIR"), $folder, "signal.rs")); }
            pub(crate) mod flight { include!(concat!(env!("OUT_DIR"), $folder, "flight.rs")); }
            pub(crate) mod queue { include!(concat!(env!("OUT_DIR"), $folder, "queue.rs")); }
            pub(crate) use super::beside::{context, error, timeline, watch};
            pub(crate) mod core { pub(crate) use super::error::closed; }
            pub(crate) mod queries {
                #[derive(Debug)]
                pub(crate) struct Change { pub(crate) new: Option<super::record::Record> }
            }
            pub(crate) mod writer {
                #[derive(Debug, PartialEq)]
                pub(crate) enum Reply { Written, Failed(super::error::Error) }
            }
        }
    )*};
}

sources! {
    sound in "/sound/"
    broken in "/broken/"
}

/// What the sources name and the checkers do not look into.
#[allow(dead_code, reason = "the sources name it")]
mod beside {
    pub(crate) mod timeline {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) struct Stamp {
            pub(crate) boot: i64,
            pub(crate) at_ms: i64,
        }
    }

    pub(crate) mod error {
        #[derive(Clone, Debug, PartialEq)]
        pub(crate) struct Error;

        pub(crate) fn closed() -> Error {
            Error
        }
    }

    pub(crate) mod context {
        pub(crate) struct Scope {
            pub(crate) call: Option<()>,
        }

        pub(crate) fn scope() -> Scope {
            Scope { call: None }
        }
    }

    /// Deadlines never pass under the checker, so nobody keeps them.
    pub(crate) mod watch {
        use std::sync::Arc;
        use std::task::Waker;
        use std::time::Instant;

        #[derive(Debug)]
        pub(crate) struct Watch;
        pub(crate) struct Alarm;

        impl Watch {
            pub(crate) fn is_closed(&self) -> bool {
                false
            }
            pub(crate) fn alarm(self: &Arc<Self>, _: Instant, _: Waker) -> Alarm {
                Alarm
            }
        }
    }
}
