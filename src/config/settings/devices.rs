//! Devices of pictures and sound, as the configuration names them.

use std::path::PathBuf;

use super::VideoEncoding;
use crate::config::{SoundName, VideoName};
use crate::room::Bitrate;

/// Where pictures come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VideoDevice {
    /// Nothing configured.
    None,
    /// A V4L2 node or stable name.
    V4l2(VideoName),
    /// `sim:testcard`.
    SimTestcard,
    /// `sim:slides`.
    SimSlides,
    /// `sim:file:PATH`: Y4M, looped.
    SimFile(PathBuf),
}

impl VideoDevice {
    pub(super) fn is_simulated(&self) -> bool {
        match self {
            Self::SimTestcard | Self::SimSlides | Self::SimFile(_) => true,
            Self::None | Self::V4l2(_) => false,
        }
    }
}

/// `[screen]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ScreenSettings {
    /// `device` and `ppm`.
    pub source: VideoSettings,
    /// What `[camera] device` names in the whole configuration and in the box's own files: never a screen's source.
    pub cameras: Vec<VideoName>,
    /// `bitrate`.
    pub bitrate: Bitrate,
    /// `on_signal`: share what appears.
    pub on_signal: bool,
}

impl ScreenSettings {
    /// What a share is encoded to: what level 3.1, which is negotiated, allows at a rate that leaves text sharp.
    pub fn encoding(&self) -> VideoEncoding {
        VideoEncoding {
            width: 1280,
            height: 720,
            frame_rate: 15,
            bitrate: self.bitrate,
        }
    }
}

/// `[camera]`, and the source of `[screen]`.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoSettings {
    /// `device`.
    pub device: VideoDevice,
    /// `ppm`: clock error of a simulated device, parts per million.
    pub ppm: i32,
}

/// Where sound comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MicrophoneDevice {
    /// Nothing configured: silence is sent.
    None,
    /// An ALSA PCM name, such as `hw:CARD=Device` or `null`.
    Alsa(SoundName),
    /// `sim:tone[:HZ]`.
    SimTone(u32),
    /// `sim:speech`.
    SimSpeech,
    /// `sim:silence`.
    SimSilence,
    /// `sim:file:PATH`: WAV, looped.
    SimFile(PathBuf),
}

impl MicrophoneDevice {
    pub(super) fn is_simulated(&self) -> bool {
        match self {
            Self::SimTone(_) | Self::SimSpeech | Self::SimSilence | Self::SimFile(_) => true,
            Self::None | Self::Alsa(_) => false,
        }
    }
}

/// `[microphone]`.
#[derive(Clone, Debug, PartialEq)]
pub struct MicrophoneSettings {
    /// `device`.
    pub device: MicrophoneDevice,
    /// `ppm`: clock error of a simulated device, parts per million.
    pub ppm: i32,
}

/// Where sound goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpeakerDevice {
    /// Nothing configured: what is heard is decoded and dropped.
    None,
    /// An ALSA PCM name.
    Alsa(SoundName),
    /// `sim:meter`: measures level and frequency.
    SimMeter,
    /// `sim:wav:PATH`: measures and records.
    SimWav(PathBuf),
}

impl SpeakerDevice {
    pub(super) fn is_simulated(&self) -> bool {
        match self {
            Self::SimMeter | Self::SimWav(_) => true,
            Self::None | Self::Alsa(_) => false,
        }
    }
}

/// `[speaker]`.
#[derive(Clone, Debug, PartialEq)]
pub struct SpeakerSettings {
    /// `device`.
    pub device: SpeakerDevice,
    /// `ppm`: clock error of a simulated device, parts per million.
    pub ppm: i32,
}

/// `[display] device`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisplayDevice {
    /// `none`.
    None,
    /// `sim:png`.
    SimPng,
}
