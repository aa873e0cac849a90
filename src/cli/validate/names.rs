//! Names that may have been meant.

/// Whether a name may be a misspelling of a known one.
pub fn is_near(name: &str, known: &str) -> bool {
    name.len() <= 64
        && strsim::osa_distance(&name.to_lowercase(), &known.to_lowercase()) <= 2.max(known.len() / 6).min(known.len() - 1)
}

/// The known name that may have been meant; empty where there is none.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> String {
    let near = known.filter(|known| is_near(name, known));
    near.min_by_key(|known| strsim::osa_distance(&name.to_lowercase(), &known.to_lowercase())).cloned().unwrap_or_default()
}

/// What to do about an unknown name.
pub fn suggestion<'a>(name: &str, known: impl Iterator<Item = &'a String> + Clone) -> String {
    let near = nearest(name, known.clone());
    if near.is_empty() {
        let known: Vec<&str> = known.map(String::as_str).collect();
        if known.is_empty() { "remove it".to_owned() } else { format!("remove it; known are {}", known.join(", ")) }
    } else {
        format!("did you mean {near}?")
    }
}
