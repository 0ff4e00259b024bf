//! Finds the word that was meant by a misspelt one.

use strsim::osa_distance;

/// The known word nearest to `word`, where it is near enough to have been meant.
pub(super) fn meant<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase().replace('-', "_");
    let most = lower.chars().count().div_ceil(3).min(3);
    let distance = |candidate: &str| osa_distance(&lower, &candidate.to_lowercase().replace('-', "_"));
    let near = known.into_iter().map(|candidate| (distance(candidate), candidate));
    near.filter(|(away, _)| *away <= most).min_by_key(|(away, _)| *away).map(|(_, candidate)| candidate)
}

/// `; did you mean …?` or nothing.
pub(super) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    meant(word, known).map_or_else(String::new, |meant| format!("; did you mean {meant:?}?"))
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
