//! Fills `{env:NAME}` in a text. Knows nothing of where the variables come from.

/// What begins the name of a variable.
const OPEN: &str = "{env:";

/// Whether `text` names a variable.
pub(super) fn named_in(text: &str) -> bool {
    text.contains(OPEN)
}

/// `text` with every `{env:NAME}` replaced.
///
/// # Errors
/// The names of the variables that are not set.
pub(super) fn fill(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, Vec<String>> {
    let (mut filled, mut unset, mut rest) = (String::new(), Vec::new(), text);
    while let Some((before, after)) = rest.split_once(OPEN)
        && let Some((name, after)) = after.split_once('}')
    {
        filled.push_str(before);
        match lookup(name) {
            Some(value) => filled.push_str(&value),
            None => unset.push(name.to_owned()),
        }
        rest = after;
    }
    filled.push_str(rest);
    if unset.is_empty() { Ok(filled) } else { Err(unset) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in_and_those_that_are_not_set_are_all_named() {
        let lookup = |name: &str| (name == "PORT").then(|| "8080".to_owned());
        assert_eq!(fill("http://{env:PORT}/{env:PORT}{x}", &lookup), Ok("http://8080/8080{x}".to_owned()));
        assert_eq!(fill("{env:A}{env:PORT}{env:B}", &lookup), Err(vec!["A".to_owned(), "B".to_owned()]));
        assert_eq!(fill("{env:never closed", &lookup), Ok("{env:never closed".to_owned()));
    }
}
