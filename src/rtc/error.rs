//! What can go wrong with a peer connection.

/// A failure of one peer connection. Its text never holds a description or a packet.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The crate said no.
    #[error("{0}")]
    Crate(String),
    /// An order came in a state it is not for.
    #[error("{0}")]
    State(&'static str),
    /// A description from outside was refused before anything was done with it.
    #[error("the remote description is unusable: {0}")]
    Description(String),
    /// The operating system has no randomness.
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
    /// The connection did not answer in time.
    #[error("not done within {0:?}")]
    TimedOut(std::time::Duration),
}

impl From<webrtc::error::Error> for Error {
    /// Keeps what comes before the first colon: behind it some of the crate's errors quote the line of a
    /// description, or a whole packet.
    fn from(error: webrtc::error::Error) -> Self {
        let text = error.to_string();
        let name = text.split([':', '\n']).next().unwrap_or_default().trim();
        Self::Crate(name.chars().take(120).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_crate_quotes_is_not_repeated() {
        let quoting = webrtc::error::Error::Other("syntax error: a=ice-pwd:secret".to_owned());
        assert_eq!(Error::from(quoting).to_string(), "syntax error");
    }
}
