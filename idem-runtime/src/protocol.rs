//! What a record is, how old it is, and what a call may do about it. Pure: no I/O, no clock, no async.

pub(crate) mod change;
pub(crate) mod decide;
pub(crate) mod record;
pub(crate) mod timeline;
