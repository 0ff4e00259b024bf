//! Finds the word that was meant by a misspelt one.

/// The known word nearest to `word`, where it is near enough to have been meant.
pub(super) fn meant<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase().replace('-', "_");
    let most = lower.chars().count().div_ceil(3).min(3);
    let distance = |candidate: &str| distance(&lower, &candidate.to_lowercase().replace('-', "_"));
    let near = known.into_iter().map(|candidate| (distance(candidate), candidate));
    near.filter(|(away, _)| *away <= most).min_by_key(|(away, _)| *away).map(|(_, candidate)| candidate)
}

/// `; did you mean …?` or nothing.
pub(super) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    meant(word, known).map_or_else(String::new, |meant| format!("; did you mean {meant:?}?"))
}

/// How many letters have to be added, dropped or replaced, or neighbours swapped, to make one of the other.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let replaced = rows[i][j] + usize::from(a != b);
            let mut least = replaced.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_is_recognised_and_a_foreign_one_is_not() {
        let known = ["method", "path", "status", "headers", "body", "private_key"];
        for (word, expected) in [
            ("methd", Some("method")),
            ("mehtod", Some("method")),
            ("Method", Some("method")),
            ("header", Some("headers")),
            ("private-key", Some("private_key")),
            ("colour", None),
            ("x", None),
        ] {
            assert_eq!(meant(word, known), expected, "{word}");
        }
    }
}
