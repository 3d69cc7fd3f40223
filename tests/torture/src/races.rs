//! Part 3.
use crate::frame::{Options, Report};
pub(crate) fn run(_: &Options) -> Vec<Report> { Vec::new() }
pub(crate) fn child(_: &[&str]) {}
