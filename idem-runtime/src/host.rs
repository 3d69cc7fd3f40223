//! The operating system: clocks, paths, private files, mounts.

pub(crate) mod boot;
pub(crate) mod clock;
pub(crate) mod file_identity;
pub(crate) mod high_water;
pub(crate) mod lock_holder;
pub(crate) mod machine;
pub(crate) mod mounts;
pub(crate) mod path_error;
pub(crate) mod platform;
pub(crate) mod sidecar;
pub(crate) mod store_path;
pub(crate) mod temporary;
