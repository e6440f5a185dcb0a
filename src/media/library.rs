//! Where OpenH264 comes from, by Cargo feature: compiled in from its source (`openh264-source`, the default), or Cisco's own
//! binary (`openh264-libloading`), with which comes Cisco's patent licence. Which of them a product takes is its maker's
//! decision.

use openh264::OpenH264API;

#[cfg(not(any(feature = "openh264-source", feature = "openh264-libloading")))]
compile_error!("choose one of the features openh264-source and openh264-libloading");

/// OpenH264 as it was compiled in.
#[cfg(feature = "openh264-source")]
pub(super) fn openh264() -> Result<OpenH264API, openh264::Error> {
    Ok(OpenH264API::from_source())
}

/// The binary; only one whose checksum is known as Cisco's is loaded. The build sets where it is installed:
/// `HUDDLED_OPENH264=/path/of/libopenh264.so cargo build ...`.
#[cfg(not(feature = "openh264-source"))]
pub(super) fn openh264() -> Result<OpenH264API, openh264::Error> {
    const BINARY: &str = match option_env!("HUDDLED_OPENH264") {
        Some(path) => path,
        None => "/usr/lib/huddled/libopenh264.so",
    };
    OpenH264API::from_blob_path(BINARY).map_err(|error| {
        log::error!(
            "{BINARY}: not OpenH264 as Cisco publishes it: {error}; install Cisco's binary there"
        );
        openh264::Error::from(error)
    })
}
