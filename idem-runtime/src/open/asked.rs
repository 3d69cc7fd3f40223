//! The settings that an open asks for, compared with those of the store that is open already.

use std::sync::Arc;
use std::time::Duration;

/// The settings of a store. Permissions of one open, such as `accept_lost_records`, are no settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) shared: bool,
    pub(super) token_namespace: Option<Arc<str>>,
    pub(super) result_bytes_max: usize,
    pub(super) log_bytes: u64,
    pub(super) record_within: Duration,
    pub(super) settle_window: Duration,
    /// Whether a clock was given. Two clocks cannot be compared.
    pub(super) has_clock: bool,
}

impl Asked {
    /// The names of the settings that differ, as a person writes them in a builder.
    pub(super) fn differing(&self, other: &Asked) -> Vec<&'static str> {
        let differs = [
            ("`shared`", self.shared != other.shared),
            ("`token_namespace`", self.token_namespace != other.token_namespace),
            ("`result_bytes_max`", self.result_bytes_max != other.result_bytes_max),
            ("`log_bytes`", self.log_bytes != other.log_bytes),
            ("`record_within`", self.record_within != other.record_within),
            ("`settle_window`", self.settle_window != other.settle_window),
            ("`clock`", self.has_clock != other.has_clock),
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }
}
