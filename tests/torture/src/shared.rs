//! Calls whose name many workloads share.

use std::borrow::Cow;

use idem_runtime::Call;

/// Begins a call of a name that bodies in several functions share, which would else be refused.
pub(crate) fn call(name: impl Into<Cow<'static, str>>) -> Call {
    idem_runtime::call(name).same_for_types()
}
