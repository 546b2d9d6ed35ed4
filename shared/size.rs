//! Sizes as PostgreSQL's configuration writes them: `10GB`, units of 1,024.

const UNITS: [(&str, u64); 5] = [
    ("TB", 1 << 40),
    ("GB", 1 << 30),
    ("MB", 1 << 20),
    ("kB", 1 << 10),
    ("B", 1),
];

/// Reads a whole number with its unit, in bytes.
pub fn parse(text: &str) -> Result<u64, String> {
    let wrong = || format!("expected a size such as \"10GB\" or \"512MB\", found {text:?}");
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = text[digits.len()..].trim();
    let (_, factor) = UNITS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))
        .ok_or_else(wrong)?;
    let number: u64 = digits.trim().parse().map_err(|_| wrong())?;
    number.checked_mul(*factor).ok_or_else(wrong)
}

/// In the largest unit that gives a whole number: what [`parse`] reads back.
pub fn text(bytes: u64) -> String {
    let fits = |(_, factor): &&(&str, u64)| bytes >= *factor && bytes.is_multiple_of(*factor);
    match UNITS.iter().find(fits) {
        Some((name, factor)) => format!("{}{name}", bytes / factor),
        None => format!("{bytes}B"),
    }
}

/// For people: three digits at least are right.
pub fn rounded(bytes: u64) -> String {
    match UNITS.iter().find(|(_, factor)| bytes >= *factor) {
        Some((name, factor)) if *factor > 1 => {
            format!("{:.1} {name}", bytes as f64 / *factor as f64)
        }
        _ => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_round_trip_and_nonsense_is_refused() {
        for (text_in, bytes) in [
            ("10GB", 10 << 30),
            ("512MB", 512 << 20),
            ("1536MB", 3 << 29),
            ("7kB", 7 << 10),
            ("1TB", 1 << 40),
            ("1000B", 1000),
        ] {
            assert_eq!(parse(text_in), Ok(bytes));
            assert_eq!(text(bytes), text_in);
        }
        assert_eq!(parse("64 mb"), Ok(64 << 20));
        for bad in [
            "",
            "GB",
            "10",
            "-1GB",
            "1.5GB",
            "10 XB",
            "99999999999TB",
            "10GB5",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn people_read_one_decimal() {
        assert_eq!(rounded(0), "0 B");
        assert_eq!(rounded(1023), "1023 B");
        assert_eq!(rounded(1 << 20), "1.0 MB");
        assert_eq!(rounded(3 << 29), "1.5 GB");
    }
}
