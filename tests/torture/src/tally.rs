//! Parts that try many points in one go.

use crate::frame::Report;

/// What such a part tells its report.
pub(crate) trait Tally {
    /// So many points, with nothing wrong so far.
    fn points_tried(&mut self, points: usize);
    /// Something was wrong with them.
    fn violation(&mut self, violation: impl Into<String>);
}

impl Tally for Report {
    fn points_tried(&mut self, points: usize) {
        (0..points).for_each(|_| self.point(Vec::new()));
    }

    fn violation(&mut self, violation: impl Into<String>) {
        self.point(vec![violation.into()]);
    }
}
