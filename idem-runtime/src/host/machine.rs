//! The id of the machine, by which a store notices that it was moved or copied.

use std::fs;

use crate::encoding::digest::Checksum;

/// An id of this machine. `None` if the system has none that the standard library can read.
///
/// The system asks not to publish the id in `/etc/machine-id`, so this is a checksum of it.
pub(crate) fn id() -> Option<String> {
    let paths = ["/etc/machine-id", "/var/lib/dbus/machine-id"];
    let texts = paths.iter().filter_map(|path| fs::read_to_string(path).ok());
    let id = texts.map(|text| text.trim().to_owned()).find(|id| is_id(id))?;
    let checksum = Checksum::new().bytes(b"machine").bytes(id.as_bytes()).finish();
    Some(format!("{:016x}", u64::from_le_bytes(checksum)))
}

/// Images are shipped with an empty file or the word `uninitialized`.
fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_initialized_id_counts() {
        assert!(is_id("0123456789abcdef0123456789abcdef"));
        for text in ["", "uninitialized", "0123456789abcdef", "0123456789abcdef0123456789abcdeg"] {
            assert!(!is_id(text), "{text}");
        }
        assert_eq!(id(), id());
    }
}
