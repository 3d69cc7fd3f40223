//! Support for the tests.
pub mod form;
pub mod plain;
pub mod halt;
pub mod hand_clock;
