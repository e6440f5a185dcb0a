//! Runs code of others that may panic on a thread of its own: the panic ends that thread instead of the one that asks,
//! whose end would be the end of the process.

use std::thread::{Builder, scope};

/// Runs `work` to its end on a thread named `name`.
///
/// # Errors
/// One sentence: it panicked, or there is no thread for it.
pub fn shielded<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> Result<T, String> {
    scope(|scope| {
        Builder::new()
            .name(name.to_owned())
            .spawn_scoped(scope, work)
            .map_err(|error| format!("no thread for {name}: {error}"))?
            .join()
            .map_err(|_| format!("{name} panicked; its message is above"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_sentence_and_a_result_comes_through() {
        let number = 7;
        assert_eq!(shielded("adding", || number + 1), Ok(8));
        let error = shielded("falling over", || -> u8 { panic!("on purpose") }).unwrap_err();
        assert!(error.starts_with("falling over panicked"), "{error}");
    }
}
