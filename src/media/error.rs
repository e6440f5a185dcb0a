//! What can go wrong while encoding.

/// A codec or a picture was refused.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The H.264 encoder said no.
    #[error("H.264 encoder, {attempt}: {source}")]
    Video {
        /// What was attempted.
        attempt: &'static str,
        /// What it said.
        source: openh264::Error,
    },
    /// The Opus encoder said no.
    #[error("Opus encoder, {attempt}: {source}")]
    Audio {
        /// What was attempted.
        attempt: &'static str,
        /// What it said.
        source: ::opus::Error,
    },
    /// The system gave no thread.
    #[error("no thread for media: {0}")]
    Thread(#[source] std::io::Error),
    /// A frame is not what its description says.
    #[error("frame of {width}x{height}: {reason}")]
    Frame {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
        /// What is wrong.
        reason: String,
    },
}
