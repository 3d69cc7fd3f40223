//! One file per option or scenario.
