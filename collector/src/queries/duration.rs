//! Durations as Go writes them.

/// `1h30m`, `1.5s`, `100ms`; in nanoseconds.
pub fn parse(text: &str) -> Option<u64> {
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, behind) = rest.split_at(digits);
        let unit = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(unit);
        let ns = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            "d" => 86_400e9,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * ns;
        rest = behind;
    }
    (!text.is_empty() && total <= 9e18).then_some(total as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_as_go_writes_them() {
        for (text, ns) in [
            ("1h30m", 5_400_000_000_000),
            ("1.5s", 1_500_000_000),
            ("100ms", 100_000_000),
            ("2m3s4ms5us6ns", 123_004_005_006),
        ] {
            assert_eq!(parse(text), Some(ns), "{text}");
        }
        for text in ["", "15", "s", "1x", "h1", "1h30", "-1s", "..s", "1e30h"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
