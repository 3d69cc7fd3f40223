//! The runtime's own sources under a checker (see `build.rs`): `decide`, `flight`, `queue`, `codec` word for word, with
//! shuttle's locks, beside the least of what they name.

macro_rules! sources {
    ($($variant:ident in $folder:literal)*) => {$(
        #[allow(dead_code, unused_imports, missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "of the runtime")]
        pub(crate) mod $variant {
pub(crate) mod policy { include!(concat!(env!("OUT_DIR"), $folder, "policy.rs")); }
            pub(crate) mod sync { include!(concat!(env!("OUT_DIR"), $folder, "sync.rs")); }
            pub(crate) mod encoding {
                pub(crate) mod canonical { include!(concat!(env!("OUT_DIR"), $folder, "encoding_canonical.rs")); }
                pub(crate) mod digest { include!(concat!(env!("OUT_DIR"), $folder, "encoding_digest.rs")); }
                pub(crate) mod key { include!(concat!(env!("OUT_DIR"), $folder, "encoding_key.rs")); }
                pub(crate) mod codec { include!(concat!(env!("OUT_DIR"), $folder, "encoding_codec.rs")); }
            }
            pub(crate) mod protocol {
                pub(crate) mod record { include!(concat!(env!("OUT_DIR"), $folder, "protocol_record.rs")); }
                pub(crate) mod change { include!(concat!(env!("OUT_DIR"), $folder, "protocol_change.rs")); }
                pub(crate) mod decide { include!(concat!(env!("OUT_DIR"), $folder, "protocol_decide.rs")); }
                pub(crate) use super::super::beside::timeline;
            }
            pub(crate) mod waiting {
                pub(crate) mod oneshot { include!(concat!(env!("OUT_DIR"), $folder, "waiting_oneshot.rs")); }
                pub(crate) mod in_flight { include!(concat!(env!("OUT_DIR"), $folder, "waiting_in_flight.rs")); }
                pub(crate) use super::super::beside::watcher;
            }
            pub(crate) mod engine {
                pub(crate) mod request { include!(concat!(env!("OUT_DIR"), $folder, "engine_request.rs")); }
                pub(crate) mod queue { include!(concat!(env!("OUT_DIR"), $folder, "engine_queue.rs")); }
            }
            pub(crate) use super::beside::error;
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

        impl Error {
            pub(crate) fn closed() -> Error {
                Error
            }
        }
    }

    /// Deadlines never pass under the checker, so nobody keeps them.
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
