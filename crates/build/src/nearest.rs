//! The word that somebody may have meant.

use holm_spec::spelling::distance;

/// Words further apart than this were not meant.
const FAR: usize = 3;
/// Longer words are not compared: nobody mistypes those, and the cost grows with the square.
const LONGEST: usize = 64;

/// The nearest of `words` to `typed`, if it is near and not the same: the first of those that are equally near.
pub fn nearest<'a>(typed: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = letters(typed)?;
    let mut best = (FAR, None);
    for word in words {
        let Some(letters) = letters(word) else { continue };
        if letters.len().abs_diff(typed.len()) >= best.0 {
            continue;
        }
        let distance = distance(&letters, &typed);
        if distance == 0 {
            return None;
        }
        if distance < best.0 {
            best = (distance, Some(word));
        }
    }
    best.1
}

fn letters(word: &str) -> Option<Vec<char>> {
    (word.len() <= LONGEST).then(|| word.chars().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found() {
        let words = ["FROM", "RUN", "COPY", "CMD"];
        let cases = [("FORM", Some("FROM")), ("RUNN", Some("RUN")), ("COYP", Some("COPY")), ("XYZZY", None)];
        for (typed, expected) in cases {
            assert_eq!(nearest(typed, words), expected, "{typed}");
        }
        assert_eq!(nearest("RUN", words), None);
        assert_eq!(nearest(&"R".repeat(1000), words), None);
    }
}
