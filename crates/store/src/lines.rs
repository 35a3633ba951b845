//! Lines of JSON that each carry their own checksum: what is torn or rotten is noticed and dropped. Pure.

use serde::{Serialize, de::DeserializeOwned};

/// Writes a value as a line: crc32c in eight hex digits, a space, JSON, a line break.
pub(crate) fn encode(value: &impl Serialize) -> Vec<u8> {
    let json = serde_json::to_string(value).expect("names, digests and finite numbers are always JSON");
    format!("{:08x} {json}\n", crc32c::crc32c(json.as_bytes())).into_bytes()
}

/// Reads the lines that are whole and understood.
pub(crate) fn decode<'a, T: DeserializeOwned + 'a>(bytes: &'a [u8]) -> impl Iterator<Item = T> + 'a {
    bytes.split(|byte| *byte == b'\n').filter_map(decode_line)
}

fn decode_line<T: DeserializeOwned>(line: &[u8]) -> Option<T> {
    let (crc, json) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    let crc = u32::from_str_radix(crc, 16).ok()?;
    if crc != crc32c::crc32c(json.as_bytes()) {
        return None;
    }
    serde_json::from_str(json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_are_read() {
        let mut bytes = [encode(&1), encode(&"two"), encode(&3)].concat();
        assert_eq!(decode::<serde_json::Value>(&bytes).count(), 3);
        assert_eq!(decode::<u32>(&bytes).collect::<Vec<_>>(), [1, 3]);
        bytes.truncate(bytes.len() - 2);
        bytes[9] ^= 1;
        assert_eq!(decode::<u32>(&bytes).count(), 0);
        assert_eq!(decode::<String>(&bytes).collect::<Vec<_>>(), ["two"]);
        assert_eq!(decode::<u32>(b"\n\xff\n zz\n").count(), 0);
    }
}
