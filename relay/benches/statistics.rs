//! Medians and ratios of interleaved rounds.

/// The middle one, or the mean of the two in the middle. Nothing where nothing was measured.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = values
        .iter()
        .copied()
        .filter(|value| value.is_finite())
        .collect();
    sorted.sort_by(f64::total_cmp);
    let (last, middle) = (sorted.len().checked_sub(1)?, sorted.len() / 2);
    Some((sorted[last / 2] + sorted[middle]) / 2.0)
}

/// What lies at a share of the way from the least to the greatest.
pub fn percentile(values: &mut [f64], share: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    values.get((last as f64 * share).round() as usize).copied()
}

/// The median of the rounds' own ratios, which the machine's moods disturb less than the ratio of two
/// medians. A round in which one of them is missing does not count.
pub fn ratio(of: &[(u32, f64)], to: &[(u32, f64)]) -> Option<f64> {
    let in_round = |round: u32| to.iter().find(|entry| entry.0 == round);
    let ratios: Vec<f64> = of
        .iter()
        .filter_map(|(round, value)| Some(value / in_round(*round)?.1))
        .collect();
    median(&ratios)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_of_what_was_measured() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, f64::NAN, 3.0]), Some(2.5));
    }

    #[test]
    fn a_ratio_compares_within_rounds() {
        let (of, to) = ([(1, 2.0), (2, 30.0), (3, 7.0)], [(2, 10.0), (1, 1.0)]);
        assert_eq!(ratio(&of, &to), Some(2.5));
        assert_eq!(ratio(&of, &[]), None);
    }

    #[test]
    fn percentiles_are_among_the_values() {
        let mut values: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&mut values, 0.99), Some(99.0));
        assert_eq!(percentile(&mut [], 0.5), None);
    }
}
