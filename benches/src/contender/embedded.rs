//! The contenders that need only a folder, by name.

use std::path::Path;

#[cfg(feature = "cached")]
use super::cached;
use super::{Contender, bare, by_hand, ours};
use crate::Outcome;

/// Opens the contender `name` in `folder`.
///
/// # Errors
/// If one cannot be opened.
pub fn embedded(name: &str, folder: &Path) -> Outcome<Box<dyn Contender>> {
    Ok(match name {
        "ours" => Box::new(ours::Threads::open(folder, ours::Mode::AtMostOnce)?),
        "ours-rerun" => Box::new(ours::Threads::open(folder, ours::Mode::Rerun)?),
        "ours-tx" => Box::new(ours::InTransaction::open(folder)?),
        "ours-async" => Box::new(ours::Tasks::open(folder)?),
        "by-hand" => Box::new(by_hand::ByHand::open(folder)?),
        "bare-channel" => Box::new(bare::Channel::open(folder, bare::Sent::ClaimAndCompletion)?),
        "bare-finished" => Box::new(bare::Channel::open(folder, bare::Sent::FinishedRow)?),
        "bare-insert" => Box::new(bare::Insert::open(folder)?),
        "bare-select" => Box::new(bare::Select::open(folder)?),
        #[cfg(feature = "cached")]
        "cached" => Box::new(cached::Cached::open(folder)?),
        other => return Err(format!("there is no contender `{other}`").into()),
    })
}
