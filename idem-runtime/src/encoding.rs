//! Values as bytes: keys, digests, fingerprints and stored results. Pure.

pub(crate) mod canonical;
pub(crate) mod codec;
pub(crate) mod digest;
pub(crate) mod fingerprint;
pub(crate) mod key;
