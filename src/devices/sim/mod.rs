//! Simulated devices: same traits, same pace, same faults as real ones, and readable by a machine.

mod camera;
mod faults;
mod meter;
mod microphone;
mod panel;
mod slides;
mod speaker;
mod testcard;
mod wav;
mod y4m;

use std::path::Path;

use super::{Camera, DeviceError, Microphone, Panel, Speaker};
use crate::config::VideoEncoding;

pub use faults::Faults;
pub use panel::Lights;
pub use testcard::{Strip, read_strip};

/// `sim:testcard`.
pub(super) fn open_testcard(
    box_name: &str,
    video: &VideoEncoding,
    ppm: i32,
    faults: &Faults,
) -> Result<Box<dyn Camera>, DeviceError> {
    let (width, height) = size(video);
    let card = testcard::TestCard::new(box_name, width, height);
    open_picture(
        "sim:testcard".to_owned(),
        Box::new(card),
        video,
        ppm,
        faults,
    )
}

/// `sim:slides`.
pub(super) fn open_slides(
    box_name: &str,
    video: &VideoEncoding,
    ppm: i32,
    faults: &Faults,
) -> Result<Box<dyn Camera>, DeviceError> {
    let (width, height) = size(video);
    let slides = slides::Slides::new(box_name, width, height);
    open_picture(
        "sim:slides".to_owned(),
        Box::new(slides),
        video,
        ppm,
        faults,
    )
}

/// `sim:file:PATH` of a camera.
pub(super) fn open_footage(
    path: &Path,
    video: &VideoEncoding,
    ppm: i32,
    faults: &Faults,
) -> Result<Box<dyn Camera>, DeviceError> {
    let (width, height) = size(video);
    let device = format!("sim:file:{}", path.display());
    let footage = y4m::Footage::open(&device, path, width, height)?;
    open_picture(device, Box::new(footage), video, ppm, faults)
}

fn size(video: &VideoEncoding) -> (usize, usize) {
    (video.width as usize, video.height as usize)
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

/// `sim:file:PATH` of a microphone.
pub(super) fn open_recording(
    path: &Path,
    ppm: i32,
    faults: &Faults,
) -> Result<Box<dyn Microphone>, DeviceError> {
    let device = format!("sim:file:{}", path.display());
    let recording = Box::new(microphone::Recording::new(wav::load(&device, path)?));
    open_sound(device, recording, ppm, faults)
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

/// `sim:meter`.
pub(super) fn open_meter(ppm: i32, faults: &Faults) -> Result<Box<dyn Speaker>, DeviceError> {
    let speaker = speaker::SimSpeaker::new("sim:meter".to_owned(), ppm, faults.clone())?;
    Ok(Box::new(speaker.measuring()))
}

/// `sim:wav:PATH`.
pub(super) fn open_recorder(
    path: &Path,
    ppm: i32,
    faults: &Faults,
) -> Result<Box<dyn Speaker>, DeviceError> {
    let device = format!("sim:wav:{}", path.display());
    let speaker = speaker::SimSpeaker::new(device, ppm, faults.clone())?;
    Ok(Box::new(speaker.measuring().recording(path)?))
}

/// Takes sound at the right pace and drops it.
pub(super) fn open_sink() -> Result<Box<dyn Speaker>, DeviceError> {
    let speaker = speaker::SimSpeaker::new("none".to_owned(), 0, Faults::default())?;
    Ok(Box::new(speaker))
}

/// `sim:virtual`.
pub(super) fn open_panel() -> Box<dyn Panel> {
    Box::new(panel::VirtualPanel::default())
}
