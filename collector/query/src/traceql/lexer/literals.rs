//! Numbers, durations and strings.

use super::{At, Fault, Lexer, Token, is_key_char};

/// Units of durations and their nanoseconds.
const UNITS: [(&str, u64); 10] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
    ("w", 604_800_000_000_000),
];

impl<'a> Lexer<'a> {
    /// `1`, `1.5`, `.5`, `1e9`, `1.5s`, `1h30m`
    pub(super) fn number(&mut self) -> Result<Token, Fault> {
        let start = self.offset;
        let (whole, fraction) = self.decimal();
        let exponent = self.rest().strip_prefix(['e', 'E']).map(|rest| rest.strip_prefix(['+', '-']).unwrap_or(rest));
        let exponent = exponent.filter(|digits| digits.starts_with(|c: char| c.is_ascii_digit()));
        if let Some(digits) = exponent {
            self.offset = self.text.len() - digits.len();
            self.take_while(|c| c.is_ascii_digit());
        }
        let number = &self.text[start..self.offset];
        let unit = self.take_while(char::is_alphabetic);
        if !unit.is_empty() && exponent.is_none() {
            return self.duration(start, whole, fraction, unit);
        }
        if !unit.is_empty() {
            return Fault::new(At::new(start, self.offset), "durations are written without an exponent");
        }
        self.ends(start)?;
        let at = At::new(start, self.offset);
        if number.bytes().all(|byte| byte.is_ascii_digit()) {
            return match number.parse() {
                Ok(number) if number <= 1 << 63 => Ok(Token::Int(number)),
                _ => Fault::new(at, "whole numbers end at maxInt, which is 9223372036854775807"),
            };
        }
        match number.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Token::Float(number)),
            _ => Fault::new(at, format!("found `{number}`, which is no number that fits into 64 bits")),
        }
    }

    /// Digits with a point somewhere; what stands before and after it.
    fn decimal(&mut self) -> (&'a str, &'a str) {
        let (text, start) = (self.text, self.offset);
        self.take_while(|c| c.is_ascii_digit());
        let point = self.offset;
        if self.rest().starts_with('.') {
            self.offset += 1;
            self.take_while(|c| c.is_ascii_digit());
            return (&text[start..point], &text[point + 1..self.offset]);
        }
        (&text[start..point], "")
    }

    /// What follows the first number and unit of a duration.
    fn duration(
        &mut self,
        start: usize,
        mut whole: &'a str,
        mut fraction: &'a str,
        mut unit: &'a str,
    ) -> Result<Token, Fault> {
        let mut total_ns = 0u64;
        loop {
            let at = At::new(start, self.offset);
            let Some((_, unit_ns)) = UNITS.iter().find(|(name, _)| *name == unit) else {
                let found = if unit.is_empty() { "no unit".to_owned() } else { format!("the unit `{unit}`") };
                return Fault::new(
                    at,
                    format!("found {found}, expected one of ns, us, ms, s, m, h, d, w{}", quotes(self.text, at)),
                );
            };
            let part = part_ns(whole, fraction, *unit_ns).and_then(|part| total_ns.checked_add(part));
            total_ns = match part {
                Some(total) if i64::try_from(total).is_ok() => total,
                _ => return Fault::new(at, "a duration is at most 2562047h, that is 2^63 nanoseconds"),
            };
            if !self.rest().starts_with(|c: char| c.is_ascii_digit()) {
                self.ends(start)?;
                return Ok(Token::Duration(total_ns.cast_signed()));
            }
            (whole, fraction) = self.decimal();
            unit = self.take_while(char::is_alphabetic);
        }
    }

    /// Nothing may touch the end of a number but signs.
    fn ends(&self, start: usize) -> Result<(), Fault> {
        match self.rest().chars().next() {
            Some(c) if is_key_char(c) && !"+-*/%]".contains(c) => {
                let at = At::new(start, self.offset + c.len_utf8());
                Fault::new(at, format!("found {c:?} right after a number{}", quotes(self.text, at)))
            }
            _ => Ok(()),
        }
    }

    /// `"text"` with escapes, or `` `text` `` as it stands.
    pub(super) fn string(&mut self) -> Result<String, Fault> {
        let start = self.offset;
        let unfinished = |end| Fault::new(At::new(start, end), "this string has no end");
        if self.rest().starts_with('`') {
            self.offset += 1;
            let text = self.take_while(|c| c != '`');
            if self.rest().is_empty() {
                return unfinished(self.offset);
            }
            self.offset += 1;
            return Ok(text.to_owned());
        }
        self.offset += 1;
        let mut text = String::new();
        loop {
            text.push_str(self.take_while(|c| !['"', '\\', '\n'].contains(&c)));
            match self.rest().as_bytes().first() {
                Some(b'"') => {
                    self.offset += 1;
                    return Ok(text);
                }
                Some(b'\\') => text.push(self.escape()?),
                _ => return unfinished(self.offset),
            }
        }
    }

    /// What a backslash and the characters after it stand for: what Go has, one character each.
    fn escape(&mut self) -> Result<char, Fault> {
        let start = self.offset;
        let mut ahead = self.rest().chars();
        ahead.next();
        let Some(kind) = ahead.next() else { return Fault::new(At::new(start, start + 1), "this string has no end") };
        self.offset += 1 + kind.len_utf8();
        let digits = match kind {
            'a' => return Ok('\x07'),
            'b' => return Ok('\x08'),
            'f' => return Ok('\x0c'),
            'n' => return Ok('\n'),
            'r' => return Ok('\r'),
            't' => return Ok('\t'),
            'v' => return Ok('\x0b'),
            '\\' | '"' => return Ok(kind),
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => {
                let at = At::new(start, self.offset);
                return Fault::new(
                    at,
                    format!(
                        "found the escape `\\{kind}`, which is none; write `\\\\{kind}`, or the string in backticks"
                    ),
                );
            }
        };
        let code = self.rest().get(..digits).filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()));
        // \x stands for a byte; above 7f it would be half a character.
        let number = code.and_then(|code| u32::from_str_radix(code, 16).ok()).filter(|n| kind != 'x' || *n < 0x80);
        match number.and_then(char::from_u32) {
            Some(c) => {
                self.offset += digits;
                Ok(c)
            }
            None => Fault::new(
                At::new(start, self.offset),
                format!("found `\\{kind}`, expected {digits} hexadecimal digits of a character after it"),
            ),
        }
    }

    /// A quoted part of a key. It knows two escapes only, `\"` and `\\`.
    pub(super) fn quoted_key(&mut self, key: &mut String) -> Result<(), Fault> {
        let start = self.offset;
        self.offset += 1;
        loop {
            key.push_str(self.take_while(|c| !['"', '\\'].contains(&c)));
            let rest = self.rest().as_bytes();
            match (rest.first(), rest.get(1)) {
                (Some(b'"'), _) => {
                    self.offset += 1;
                    return Ok(());
                }
                (Some(b'\\'), Some(b'"' | b'\\')) => {
                    key.push(char::from(rest[1]));
                    self.offset += 2;
                }
                (Some(_), _) => {
                    let at = At::new(self.offset, self.offset + 1);
                    return Fault::new(at, "in a quoted key only \\\" and \\\\ may follow a backslash");
                }
                (None, _) => return Fault::new(At::new(start, self.offset), "this quoted key has no end"),
            }
        }
    }
}

/// `whole.fraction` times the unit, or nothing when it is too much. Exact down to a nanosecond.
fn part_ns(whole: &str, fraction: &str, unit_ns: u64) -> Option<u64> {
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // 18 digits are more than any unit has places for.
    let fraction = &fraction[..fraction.len().min(18)];
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let parts: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let below = u64::try_from(parts * u128::from(unit_ns) / scale).ok()?;
    whole.checked_mul(unit_ns)?.checked_add(below)
}

/// Advice for keys that look like numbers.
fn quotes(text: &str, at: At) -> &'static str {
    if text[at.start..].starts_with('.') {
        "; a key that begins with a digit is written in quotes: `.\"5xx\"`"
    } else {
        ""
    }
}
