//! Guesses what a misspelt word means.

/// The most similar of the names, if one is similar.
pub fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let similarity = |name: &&str| strsim::jaro_winkler(word, name);
    // A file may have thousands of names, and a long one takes the square of its length.
    let nearest = names
        .filter(|name| word.len().max(name.len()) <= LONGEST)
        .max_by(|one, other| similarity(one).total_cmp(&similarity(other)))?;
    (similarity(&nearest) >= LOWEST_SIMILARITY).then_some(nearest)
}

/// The longest word that is compared, in bytes.
const LONGEST: usize = 100;

/// The lowest similarity (Jaro-Winkler, at most 1) of a misspelt word.
const LOWEST_SIMILARITY: f64 = 0.85;
