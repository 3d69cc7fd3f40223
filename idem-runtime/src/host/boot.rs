//! The ids of boots, and what a comparison of two of them proves.
//!
//! A store compares boots for two questions. Is the process of an owner gone? Has the settle window passed? Both
//! questions can have the answer "unknown", so every comparison of boots goes through [`BootComparison`].
//!
//! # Systems without a boot id
//! Linux has a boot id in `/proc`. macOS and Windows have one as well, but the standard library does not read it. There, and
//! in a chroot without `/proc`, each process has an id of its own, and a comparison of two processes proves nothing.

use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};

/// The kernel's name for the initial time namespace (`PROC_TIME_INIT_INO`).
const INITIAL_TIME_NAMESPACE: &str = "time:[4026531834]";
/// The text between a boot id and its time namespace.
const TIME_NAMESPACE: &str = " time:[";
/// The character between a boot id and the number of a restarted uptime.
const RESTARTED_UPTIME: char = '~';
/// The start of the id of a process without a boot id.
const PROCESS: &str = "process ";

/// The result of the comparison of two boot ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BootComparison {
    /// The machine did not restart between the two.
    Same,
    /// The machine restarted between the two, or the ids are of two machines.
    Other,
    /// At least one of them is not the id of a kernel.
    Unknown,
}

impl BootComparison {
    /// Compares two ids. A time namespace and a restarted uptime belong to the boot of their kernel.
    pub(crate) fn of(one: Option<&str>, other: Option<&str>) -> Self {
        if one.is_some() && one == other {
            return Self::Same;
        }
        match (one.and_then(kernel_part), other.and_then(kernel_part)) {
            (Some(one), Some(other)) if one == other => Self::Same,
            (Some(_), Some(_)) => Self::Other,
            _ => Self::Unknown,
        }
    }
}

fn kernel_part(id: &str) -> Option<&str> {
    let id = id.split(RESTARTED_UPTIME).next()?;
    let id = id.split(TIME_NAMESPACE).next()?;
    Some(id).filter(|id| !id.starts_with(PROCESS) && !id.is_empty())
}

/// The kernel's id of this boot. `None` if the system has no boot id.
pub(crate) fn kernel_id() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned()).filter(|id| !id.is_empty())
}

/// The kernel's id with the time namespace: the uptime of a container may begin at another time than that of its host.
pub(crate) fn with_time_namespace(kernel_id: String) -> String {
    match fs::read_link("/proc/self/ns/time") {
        Ok(namespace) if namespace.as_os_str() != INITIAL_TIME_NAMESPACE => {
            format!("{kernel_id} {}", namespace.display())
        }
        _ => kernel_id,
    }
}

/// An id for a process without a boot id. No two calls return the same id.
pub(crate) fn process_id(now_ms: i64) -> String {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_i64(now_ms);
    format!("{PROCESS}{} {:016x}", std::process::id(), hasher.finish())
}

/// The id of a restarted uptime under `id`, which has the row `number` of a store.
pub(crate) fn restarted_uptime(id: &str, number: i64) -> String {
    format!("{id}{RESTARTED_UPTIME}{number}")
}

/// Whether `restarted` is the id of a restarted uptime under `id`.
pub(crate) fn is_restarted_uptime(restarted: &str, id: &str) -> bool {
    restarted.strip_prefix(id).is_some_and(|rest| rest.starts_with(RESTARTED_UPTIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_kernel_ids_prove_a_restart() {
        use BootComparison::{Other, Same, Unknown};
        let (kernel, other) = ("0f3c7b4e", "9d21aa10");
        let container = "0f3c7b4e time:[4026532300]";
        let (process, neighbour) = (process_id(1), process_id(1));
        let anew = restarted_uptime(kernel, 2);
        for (one, two, expected) in [
            (Some(kernel), Some(kernel), Same),
            (Some(kernel), Some(other), Other),
            (Some(kernel), Some(container), Same),
            (Some(other), Some(container), Other),
            (Some(container), Some("0f3c7b4e time:[4026532301]"), Same),
            (Some(kernel), Some(&anew), Same),
            (Some(other), Some(&anew), Other),
            (Some(kernel), None, Unknown),
            (None, None, Unknown),
            (Some(kernel), Some(&process), Unknown),
            (Some(&process), Some(&process), Same),
            (Some(&process), Some(&neighbour), Unknown),
        ] {
            assert_eq!(BootComparison::of(one, two), expected, "{one:?} and {two:?}");
            assert_eq!(BootComparison::of(two, one), expected, "{two:?} and {one:?}");
        }
        assert!(is_restarted_uptime(&anew, kernel) && !is_restarted_uptime(kernel, kernel));
    }
}
