//! What a record is, and what a call may do about it. Pure: no I/O, no clock, no async.

pub(crate) mod change;
pub(crate) mod decide;
pub(crate) mod record;
