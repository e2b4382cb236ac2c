//! Guesses what a misspelt word means.

/// The most similar of the names, if one is similar.
pub fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let similarity = |name: &&str| strsim::jaro_winkler(word, name);
    let nearest = names.max_by(|one, other| similarity(one).total_cmp(&similarity(other)))?;
    (similarity(&nearest) >= LOWEST_SIMILARITY).then_some(nearest)
}

/// The lowest similarity (Jaro-Winkler, at most 1) of a misspelt word.
const LOWEST_SIMILARITY: f64 = 0.85;
