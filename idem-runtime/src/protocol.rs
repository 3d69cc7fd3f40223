//! Records, their changes, and the decision of a call about a record. Pure: no I/O, no clock, no async.

pub(crate) mod change;
pub(crate) mod decide;
pub(crate) mod record;
