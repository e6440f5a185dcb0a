//! Simulated devices: same traits, same pace, same faults as real ones, and readable by a machine.

mod camera;
mod canvas;
mod faults;
mod microphone;
mod testcard;

use super::{Camera, DeviceError, Microphone};
use crate::config::VideoEncoding;

pub use faults::Faults;
pub use testcard::{Strip, read_strip};

/// `sim:testcard`.
pub(super) fn open_testcard(
    box_name: &str,
    video: &VideoEncoding,
    ppm: i32,
    faults: &Faults,
) -> Result<Box<dyn Camera>, DeviceError> {
    let card = testcard::TestCard::new(box_name, video.width as usize, video.height as usize);
    open_picture(
        "sim:testcard".to_owned(),
        Box::new(card),
        video,
        ppm,
        faults,
    )
}

fn open_picture(
    device: String,
    picture: Box<dyn camera::Picture>,
    video: &VideoEncoding,
    ppm: i32,
    faults: &Faults,
) -> Result<Box<dyn Camera>, DeviceError> {
    let camera = camera::SimCamera::new(device, *video, ppm, picture, faults.clone())?;
    Ok(Box::new(camera))
}

/// `sim:tone[:HZ]`.
pub(super) fn open_tone(
    frequency_hz: u32,
    ppm: i32,
    faults: &Faults,
) -> Result<Box<dyn Microphone>, DeviceError> {
    let tone = Box::new(microphone::Tone::new(frequency_hz));
    open_sound(format!("sim:tone:{frequency_hz}"), tone, ppm, faults)
}

/// `sim:speech`.
pub(super) fn open_speech(ppm: i32, faults: &Faults) -> Result<Box<dyn Microphone>, DeviceError> {
    let speech = Box::new(microphone::Speech::new());
    open_sound("sim:speech".to_owned(), speech, ppm, faults)
}

/// Digital silence that obeys no faults.
pub(super) fn silence() -> Box<dyn Microphone> {
    Box::new(microphone::SimMicrophone::new_unchecked(
        "silence".to_owned(),
        0,
        Box::new(microphone::Silence),
        Faults::default(),
    ))
}

/// `sim:silence`, and what stands in where no microphone is configured.
pub(super) fn open_silence(ppm: i32, faults: &Faults) -> Result<Box<dyn Microphone>, DeviceError> {
    let silence = Box::new(microphone::Silence);
    open_sound("sim:silence".to_owned(), silence, ppm, faults)
}

fn open_sound(
    device: String,
    sound: Box<dyn microphone::Sound>,
    ppm: i32,
    faults: &Faults,
) -> Result<Box<dyn Microphone>, DeviceError> {
    let microphone = microphone::SimMicrophone::new(device, ppm, sound, faults.clone())?;
    Ok(Box::new(microphone))
}
