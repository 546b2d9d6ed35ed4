//! How much two names are alike: their words, without case, marks and plurals.

/// Below this, names are no better than strangers'.
pub(super) const LIKE_MIN: u8 = 50;

/// The words of a name: `blogPosts`, `Blog posts` and `blog_post` have the same.
pub(super) fn words(name: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut was_lower = false;
    for c in name.chars() {
        let begins = c.is_uppercase() && was_lower;
        if (begins || !c.is_alphanumeric()) && !word.is_empty() {
            words.push(singular(std::mem::take(&mut word)));
        }
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
        was_lower = c.is_lowercase() || c.is_numeric();
    }
    if !word.is_empty() {
        words.push(singular(word));
    }
    words
}

/// English plurals, roughly: what is cut wrongly is cut on both sides.
fn singular(word: String) -> String {
    if let Some(stem) = word.strip_suffix("ies").filter(|stem| stem.len() > 1) {
        return format!("{stem}y");
    }
    let is_plural = word.len() > 3 && word.ends_with('s') && !word.ends_with("ss");
    if is_plural {
        return word[..word.len() - 1].to_owned();
    }
    word
}

/// Percent of the words that two names share; 100 where they are the same in the same order, also
/// when one writes together what the other writes apart.
pub(super) fn likeness(left: &[String], right: &[String]) -> u8 {
    if left.is_empty() || right.is_empty() {
        return 0;
    }
    if left == right || left.concat() == right.concat() {
        return 100;
    }
    let shared = left.iter().filter(|word| right.contains(word)).count();
    let all = left.len() + right.len() - shared;
    // Below 100: the same words in another order are not the same name.
    (shared * 99 / all.max(1)) as u8
}

/// Pairs up what is most alike first, each once: left, right, and how much.
pub(super) fn pair_up(
    (left, right): (usize, usize),
    alike: impl Fn(usize, usize) -> u8,
) -> Vec<(usize, usize, u8)> {
    let mut candidates = Vec::new();
    for l in 0..left {
        for r in 0..right {
            let alike = alike(l, r);
            if alike >= LIKE_MIN {
                candidates.push((l, r, alike));
            }
        }
    }
    candidates.sort_by_key(|(_, _, alike)| std::cmp::Reverse(*alike));
    let (mut taken_left, mut taken_right) = (vec![false; left], vec![false; right]);
    let mut pairs = Vec::new();
    for (l, r, alike) in candidates {
        if !taken_left[l] && !taken_right[r] {
            (taken_left[l], taken_right[r]) = (true, true);
            pairs.push((l, r, alike));
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_alike_whatever_their_case_marks_and_plurals() {
        for (left, right) in [
            ("blog_posts", "BlogPost"),
            ("Categories", "category"),
            ("e-mail", "email"),
            ("first name", "firstName"),
        ] {
            assert_eq!(likeness(&words(left), &words(right)), 100, "{left} {right}");
        }
        assert_eq!(likeness(&words("posts"), &words("authors")), 0);
        let some = likeness(&words("author_name"), &words("name"));
        assert!((LIKE_MIN - 10..100).contains(&some), "{some}");
    }

    #[test]
    fn each_name_is_given_away_once_and_to_the_likest() {
        let left = [words("name"), words("author name")];
        let right = [words("author name")];
        let pairs = pair_up((2, 1), |l, r| likeness(&left[l], &right[r]));
        assert_eq!(pairs, [(1, 0, 100)]);
    }
}
