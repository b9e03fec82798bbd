//! Digests as they are shown and kept: lower-case hexadecimal.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a string can be written to");
        hex
    })
}

/// SHA-256 of the text of a JSON value.
pub fn of_json(value: &serde_json::Value) -> String {
    hex(&Sha256::digest(value.to_string().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_with_both_their_digits() {
        assert_eq!(hex(&[0, 10, 255]), "000aff");
        // SHA-256 of "null", by coreutils.
        let expected = "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b";
        assert_eq!(of_json(&serde_json::Value::Null), expected);
    }
}
