//! Strings in JSON.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Writes a string with its quotes and the escapes that RFC 8259, section 7, asks for.
pub fn write(out: &mut String, text: &str) {
    out.push('"');
    // Most have none. Looking at all bytes without a branch takes a tenth of looking at one after the other.
    if text.bytes().fold(false, |odd, byte| odd | is_odd(byte)) {
        write_odd(out, text);
    } else {
        out.push_str(text);
    }
    out.push('"');
}

fn is_odd(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

fn write_odd(out: &mut String, text: &str) {
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate().filter(|(_, byte)| is_odd(*byte)) {
        out.push_str(&text[plain..at]);
        plain = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ => {
                out.push_str("\\u00");
                write_hex(out, &[byte]);
            }
        }
    }
    out.push_str(&text[plain..]);
}

/// Writes two digits for each byte, without quotes.
pub fn write_hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        for digit in [byte >> 4, byte & 0xF] {
            out.push(char::from(DIGITS[usize::from(digit)]));
        }
    }
}
