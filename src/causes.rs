//! Errors of libraries in words.

/// An error with its causes, in one line: what a library says of the outside world may hold anything.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        // Many errors repeat their cause already.
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text.chars().filter(|letter| !letter.is_control()).collect()
}
