//! How far apart words are, for who tells people what they may have meant.

/// How many letters must be changed, added or taken away to make one word of the other (Levenshtein).
pub fn distance(one: &[char], other: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.iter().enumerate() {
        let mut corner = at;
        let mut left = at + 1;
        for (cell, there) in row.iter_mut().skip(1).zip(other) {
            let changed = corner + usize::from(letter != there);
            corner = *cell;
            left = changed.min(left + 1).min(corner + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = at + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}
