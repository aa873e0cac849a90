//! Bodies that no client should trust: pages, bombs, and JSON without end.

use serde_json::Value;

use super::reply::Body;

/// Beyond the 10 MiB that a client accepts (contract 6).
const TOO_MUCH: usize = 11 * 1024 * 1024;

/// The page of a proxy that answers in place of the platform.
pub(super) fn html() -> Body {
    let page = "<!DOCTYPE html><html><head><title>Bad gateway</title></head><body><h1>Bad gateway</h1></body></html>";
    Body::Bytes { content_type: "text/html; charset=utf-8", encoding: None, bytes: page.as_bytes().to_vec() }
}

/// JSON arrays in arrays.
pub(super) fn nested(depth: usize) -> Body {
    let text = format!("{{\"name\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    Body::Bytes { content_type: "application/json", encoding: None, bytes: text.into_bytes() }
}

/// The document with white space before it until it is too large: whoever reads it all would find it valid.
pub(super) fn oversized(document: Option<&Value>) -> Body {
    let mut bytes = vec![b' '; TOO_MUCH];
    bytes.extend(document.unwrap_or(&Value::Null).to_string().into_bytes());
    Body::Chunked { content_type: "application/json", bytes }
}

/// Some kilobytes of gzip that unpack to 11 MiB of white space.
pub(super) fn gzip_bomb() -> Body {
    Body::Bytes { content_type: "application/json", encoding: Some("gzip"), bytes: gzip_of_spaces(TOO_MUCH) }
}

/// A gzip file (RFC 1952) of one deflate block (RFC 1951, fixed codes): a space, then as often as needed "the last byte again, 258 times".
/// Written by hand because no crate of this project compresses.
fn gzip_of_spaces(at_least: usize) -> Vec<u8> {
    const RUN: usize = 258;
    let runs = at_least.div_ceil(RUN);
    let length = 1 + runs * RUN;
    let mut bits = Bits::default();
    bits.push(0b1, 1); // the last block
    bits.push(0b01, 2); // fixed codes
    bits.push_code(0x30 + u32::from(b' '), 8); // the literal
    for _ in 0..runs {
        bits.push_code(0b1100_0101, 8); // length 258
        bits.push_code(0, 5); // distance 1
    }
    bits.push_code(0, 7); // end of block
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    file.extend(bits.finish());
    file.extend(crc32_of_spaces(length).to_le_bytes());
    file.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    file
}

/// Bits in deflate's order: the lowest first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    current: u32,
    count: u32,
}

impl Bits {
    fn push(&mut self, value: u32, width: u32) {
        self.current |= value << self.count;
        self.count += width;
        while self.count >= 8 {
            self.bytes.push((self.current & 0xff) as u8);
            self.current >>= 8;
            self.count -= 8;
        }
    }

    /// Huffman codes are packed from their highest bit.
    fn push_code(&mut self, code: u32, width: u32) {
        self.push(code.reverse_bits() >> (32 - width), width);
    }

    fn finish(mut self) -> Vec<u8> {
        if self.count > 0 {
            self.bytes.push((self.current & 0xff) as u8);
        }
        self.bytes
    }
}

fn crc32_of_spaces(length: usize) -> u32 {
    let table: [u32; 256] = std::array::from_fn(|index| {
        (0..8).fold(u32::try_from(index).unwrap_or(0), |crc, _| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 })
    });
    !(0..length).fold(u32::MAX, |crc, _| table[((crc ^ u32::from(b' ')) & 0xff) as usize] ^ (crc >> 8))
}
