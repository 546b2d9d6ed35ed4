//! Decimals as text, against the limits of the types that hold numbers. Exact, and without
//! arithmetic: digits are counted.

use super::misfit::Misfit;
use crate::value::normal_decimal;

/// Digits with an optional sign and point, or one of the three names. No exponent: PostgreSQL
/// never prints one for numeric.
pub fn is_decimal(text: &str) -> bool {
    if matches!(text, "NaN" | "Infinity" | "-Infinity") {
        return true;
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    !(whole.is_empty() && fraction.is_empty()) && all_digits(whole) && all_digits(fraction)
}

pub(super) fn is_finite(text: &str) -> bool {
    text.bytes().any(|b| b.is_ascii_digit())
}

/// Does `numeric(precision, scale)` keep the number exactly? A scale below 0 or above the precision
/// is PostgreSQL 15.
pub(super) fn in_limits(text: &str, precision: u16, scale: i16) -> Result<(), Misfit> {
    if text == "NaN" {
        return Ok(());
    }
    if !is_finite(text) {
        return Err(Misfit::OutOfRange);
    }
    let (whole, fraction) = parts(text);
    let scale = i64::from(scale);
    let is_zero = whole.is_empty() && fraction.is_empty();
    let whole_zeros = (whole.len() - whole.trim_end_matches('0').len()) as i64;
    let exact = if scale >= 0 {
        fraction.len() as i64 <= scale
    } else {
        is_zero || (fraction.is_empty() && whole_zeros >= -scale)
    };
    if !exact {
        return Err(Misfit::NotExact);
    }
    // With a scale above the precision, leading zeros of the fraction count.
    let whole_room = i64::from(precision) - scale;
    let fits = if whole_room >= 0 {
        whole.len() as i64 <= whole_room
    } else {
        let zeros = (fraction.len() - fraction.trim_start_matches('0').len()) as i64;
        whole.is_empty() && zeros >= -whole_room
    };
    if fits || is_zero {
        Ok(())
    } else {
        Err(Misfit::OutOfRange)
    }
}

/// The limits of `numeric` itself (PostgreSQL manual 8.1.2).
pub(super) fn in_numeric(text: &str) -> Result<(), Misfit> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = whole.trim_start_matches('0');
    if whole.len() <= limits::WHOLE_DIGITS && fraction.len() <= limits::FRACTION_DIGITS {
        Ok(())
    } else {
        Err(Misfit::OutOfRange)
    }
}

/// A decimal without fraction, as an integer.
pub(super) fn integral(text: &str) -> Result<i64, Misfit> {
    let (_, fraction) = parts(text);
    if !fraction.is_empty() {
        return Err(Misfit::NotExact);
    }
    normal_decimal(text).parse().map_err(|_| Misfit::OutOfRange)
}

/// Digits before and after the point, without needless zeros.
fn parts(text: &str) -> (&str, &str) {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    (
        whole.trim_start_matches('0'),
        fraction.trim_end_matches('0'),
    )
}

mod limits {
    pub(super) const WHOLE_DIGITS: usize = 131_072;
    pub(super) const FRACTION_DIGITS: usize = 16_383;
}
