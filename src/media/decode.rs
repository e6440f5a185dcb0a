//! H.264 decoding: a few threads, one decoder per stream. A stream stays on its thread, so its units stay
//! in order; the streams of a thread take turns (`decode_turns`).
//!
//! Error concealment is off in openh264: after a loss or an error nothing but a keyframe is decoded, the
//! last picture stays, and a keyframe is wanted. Decoder threads inside openh264 stay off (they crash).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openh264::decoder::{DecodedYUV, Decoder, DecoderConfig};
use openh264::formats::YUVSource;

use super::AccessUnit;
pub(crate) use super::decode_turns::Worker;
use super::library;
use super::pictures::{Picture, PictureSlot};
use super::sps;
use crate::clock;
use crate::journal_budget::LineBudget;
use crate::room::{Allowance, PeerId, Rate, Timestamp};

/// Units of one peer waiting for its decoder at most: half a second. More are dropped up to the next keyframe.
const PENDING: usize = 15;
/// Units of one stream that are decoded: 60 pictures a second, and those that an outage held back.
const UNITS: Rate = Rate {
    burst: 90,
    every: Duration::from_millis(16),
};
/// Largest picture decoded, pixels: 1920x1088 in macroblocks, either way up.
const MAX_SIDE: u32 = 1920;
/// See [`MAX_SIDE`].
const MAX_AREA: u32 = 1920 * 1088;
/// A keyframe is asked for at most this often (stack 3.1).
const KEYFRAME_INTERVAL: Duration = Duration::from_millis(500);
/// As often after [`VAIN_KEYFRAMES`]: a keyframe costs the peer and its network much, and the next is likely
/// no better. One that comes unasked is still tried.
const VAIN_KEYFRAME_INTERVAL: Duration = Duration::from_secs(5);
/// So many keyframes in a row that failed.
const VAIN_KEYFRAMES: u32 = 3;

static TOO_LARGE: LineBudget = LineBudget::new(
    module_path!(),
    log::Level::Warn,
    "videos of peers that cannot be shown",
);

/// Why a unit gave no picture.
#[derive(Debug, thiserror::Error)]
enum DecodeError {
    #[error("the decoder refused it: {0}")]
    Refused(#[from] openh264::Error),
    #[error("its sequence parameter set cannot be read")]
    ParameterSet,
    #[error("its picture of {0}x{1} is larger than 1920x1088, either way up")]
    TooLarge(u32, u32),
    #[error("its planes do not fit its size")]
    Planes,
}

/// What became of a peer's access units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Pictures decoded.
    pub(crate) decoded: u64,
    /// Units the decoder refused.
    pub(crate) errors: u64,
    /// Units left out: they need a keyframe that is not there, or the decoder is too slow.
    pub(crate) skipped: u64,
    /// Times a keyframe was asked for.
    pub(crate) keyframes_asked: u64,
}

#[derive(Debug, Default)]
struct TrackState {
    /// Units for the decoder, at most [`PENDING`] with the one being decoded.
    waiting: VecDeque<AccessUnit>,
    /// The track is in its worker's queue, or being decoded.
    queued: bool,
    /// What was used of [`UNITS`].
    used: Allowance,
    /// A unit came at all.
    seen: bool,
    /// A keyframe went into the queue and nothing was left out since.
    in_step: bool,
    /// The decoder failed after its last keyframe.
    broken: bool,
    /// Keyframes that failed since the last one that did not.
    failed_keyframes: u32,
    /// Said that its picture is too large.
    warned: bool,
    asked_at: Option<Timestamp>,
    counters: Counters,
}

/// One peer's video between its reorder buffer and its picture.
pub(crate) struct VideoTrack {
    peer: PeerId,
    state: Mutex<TrackState>,
    decoder: Mutex<PictureDecoder>,
    pictures: Arc<PictureSlot>,
    worker: Arc<Worker>,
}

impl VideoTrack {
    /// A track that `worker` decodes and whose pictures go to `pictures`.
    pub(crate) fn new(peer: PeerId, worker: Arc<Worker>, pictures: Arc<PictureSlot>) -> Arc<Self> {
        Arc::new(Self {
            peer,
            state: Mutex::default(),
            decoder: Mutex::default(),
            pictures,
            worker,
        })
    }

    fn state(&self) -> MutexGuard<'_, TrackState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a unit for decoding; never blocks.
    pub(crate) fn submit(self: &Arc<Self>, unit: AccessUnit) {
        {
            let mut state = self.state();
            state.seen = true;
            let decodable = unit.keyframe || (state.in_step && !unit.after_loss);
            state.in_step = decodable
                && state.waiting.len() < PENDING
                && state.used.take(UNITS, unit.arrived_at).is_ok();
            if !state.in_step {
                state.counters.skipped += 1;
                return;
            }
            state.waiting.push_back(unit);
            if std::mem::replace(&mut state.queued, true) {
                return;
            }
        }
        self.worker.push(self.clone());
    }

    /// Decodes one waiting unit; whether more wait.
    pub(super) fn take_turn(&self) -> bool {
        let unit = self.state().waiting.pop_front();
        if let Some(unit) = unit {
            self.decode(&unit);
        }
        let mut state = self.state();
        state.queued = !state.waiting.is_empty();
        state.queued
    }

    /// A keyframe is needed and was not asked for within [`KEYFRAME_INTERVAL`], or within
    /// [`VAIN_KEYFRAME_INTERVAL`] where keyframes do not help.
    pub(crate) fn poll_keyframe_wanted(&self, now: Timestamp) -> bool {
        let mut state = self.state();
        let wanted = state.broken || (state.seen && !state.in_step);
        let interval = if state.failed_keyframes < VAIN_KEYFRAMES {
            KEYFRAME_INTERVAL
        } else {
            VAIN_KEYFRAME_INTERVAL
        };
        let recently = state.asked_at.is_some_and(|at| now.since(at) < interval);
        if !wanted || recently {
            return false;
        }
        state.asked_at = Some(now);
        state.counters.keyframes_asked += 1;
        true
    }

    /// What became of the units.
    pub(crate) fn counters(&self) -> Counters {
        self.state().counters
    }

    fn decode(&self, unit: &AccessUnit) {
        let skip = {
            let mut state = self.state();
            let skip = state.broken && !unit.keyframe;
            state.counters.skipped += u64::from(skip);
            skip
        };
        if skip {
            return;
        }
        let mut decoder = self.decoder.lock().unwrap_or_else(PoisonError::into_inner);
        match decoder.decode(unit) {
            Ok(picture) => {
                let mut state = self.state();
                if unit.keyframe {
                    state.broken = false;
                    state.failed_keyframes = 0;
                }
                if let Some(picture) = picture {
                    state.counters.decoded += 1;
                    drop(state);
                    decoder.recycled = self.pictures.replace(picture);
                }
            }
            Err(error) => {
                let mut state = self.state();
                state.counters.errors += 1;
                state.broken = true;
                if unit.keyframe {
                    state.failed_keyframes = state.failed_keyframes.saturating_add(1);
                }
                let too_large = matches!(error, DecodeError::TooLarge(..));
                let warn = too_large && !std::mem::replace(&mut state.warned, true);
                drop(state);
                let peer = self.peer.as_str();
                if warn && TOO_LARGE.admits(peer) {
                    log::warn!(peer = peer; "this peer's video cannot be shown: {error}");
                } else {
                    log::debug!(peer = peer; "a video frame was left out: {error}");
                }
            }
        }
    }
}

/// openh264 behind size limits.
#[derive(Default)]
struct PictureDecoder {
    decoder: Option<Decoder>,
    recycled: Vec<u8>,
}

impl PictureDecoder {
    fn decode(&mut self, unit: &AccessUnit) -> Result<Option<Picture>, DecodeError> {
        let decoded = self.decode_unit(unit);
        if decoded.is_err() {
            // After an error the decoder's state is its own secret; a keyframe starts a new one.
            self.decoder = None;
        }
        decoded
    }

    fn decode_unit(&mut self, unit: &AccessUnit) -> Result<Option<Picture>, DecodeError> {
        for (width, height) in
            sps::picture_sizes(&unit.data).map_err(|_| DecodeError::ParameterSet)?
        {
            check_size(width, height)?;
        }
        if self.decoder.is_none() {
            let api = library::openh264()?;
            self.decoder = Some(Decoder::with_api_config(api, DecoderConfig::new())?);
        }
        let Some(decoder) = self.decoder.as_mut() else {
            return Ok(None);
        };
        let Some(yuv) = decoder.decode(&unit.data)? else {
            return Ok(None);
        };
        let (width, height) = yuv.dimensions();
        let (width, height) = (width as u32, height as u32);
        // The decoder's word, should it find a parameter set where this program does not.
        check_size(width, height)?;
        let mut i420 = std::mem::take(&mut self.recycled);
        copy_planes(&yuv, &mut i420).ok_or(DecodeError::Planes)?;
        Ok(Some(Picture {
            width,
            height,
            i420: Arc::new(i420),
            media_time: unit.media_time,
            decoded_at: clock::monotonic(),
        }))
    }
}

/// Whether a picture of so many pixels is decoded.
fn check_size(width: u32, height: u32) -> Result<(), DecodeError> {
    if width.max(height) > MAX_SIDE || width * height > MAX_AREA {
        return Err(DecodeError::TooLarge(width, height));
    }
    Ok(())
}

/// Copies the planes without their padding; `None` if they are not what their size says.
fn copy_planes(yuv: &DecodedYUV<'_>, i420: &mut Vec<u8>) -> Option<()> {
    let (width, height) = yuv.dimensions();
    let (y_stride, u_stride, v_stride) = yuv.strides();
    if width == 0 || height == 0 || width % 2 != 0 || height % 2 != 0 {
        return None;
    }
    i420.clear();
    i420.reserve(width * height * 3 / 2);
    for (plane, stride, width, height) in [
        (yuv.y(), y_stride, width, height),
        (yuv.u(), u_stride, width / 2, height / 2),
        (yuv.v(), v_stride, width / 2, height / 2),
    ] {
        for row in 0..height {
            i420.extend_from_slice(plane.get(row * stride..row * stride + width)?);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use openh264::encoder::Encoder;
    use openh264::formats::YUVBuffer;
    use proptest::prelude::*;

    fn track() -> Arc<VideoTrack> {
        VideoTrack::new(PeerId::new("anna"), Arc::default(), Arc::default())
    }

    fn unit(data: Vec<u8>, keyframe: bool) -> AccessUnit {
        AccessUnit {
            data,
            media_time: 0,
            keyframe,
            after_loss: false,
            arrived_at: Timestamp::default(),
        }
    }

    fn keyframe(width: usize, height: usize) -> Vec<u8> {
        let mut encoder = Encoder::new().unwrap();
        encoder
            .encode(&YUVBuffer::new(width, height))
            .unwrap()
            .to_vec()
    }

    /// Decodes what waits, on this thread.
    fn drain(track: &VideoTrack) {
        while track.worker.take_one() {}
    }

    #[test]
    fn a_picture_larger_than_1920x1088_is_refused_before_it_is_decoded() {
        let track = track();
        track.submit(unit(keyframe(2560, 1440), true));
        drain(&track);
        assert_eq!(track.counters().errors, 1);
        assert!(track.pictures.newest().is_none());
        assert!(track.poll_keyframe_wanted(Timestamp::from_millis(1)));
        track.submit(unit(keyframe(1920, 1080), true));
        drain(&track);
        let picture = track.pictures.newest().unwrap();
        assert_eq!((picture.width, picture.height), (1920, 1080));
        assert!(!track.poll_keyframe_wanted(Timestamp::from_millis(900)));
    }

    #[test]
    fn keyframes_that_fail_are_warned_of_once_and_soon_asked_for_every_5_s_only() {
        let track = track();
        let large = keyframe(2560, 1440);
        let mut asked = Vec::new();
        for step in 0..200 {
            assert_eq!(track.state().warned, step > 0);
            let now = Timestamp::from_millis(100 * step);
            track.submit(AccessUnit {
                arrived_at: now,
                ..unit(large.clone(), true)
            });
            drain(&track);
            if track.poll_keyframe_wanted(now) {
                asked.push(step);
            }
        }
        // Three have failed before the first half second is over.
        assert_eq!(asked, [0, 50, 100, 150]);
        assert_eq!(track.counters().errors, 200);
        // A good one ends it at once.
        let now = Timestamp::from_millis(60_000);
        let submit = |data: &[u8]| {
            track.submit(AccessUnit {
                arrived_at: now,
                ..unit(data.to_vec(), true)
            });
            drain(&track);
        };
        submit(&keyframe(64, 64));
        assert!(!track.poll_keyframe_wanted(now));
        submit(&large);
        assert!(track.poll_keyframe_wanted(now));
        assert!(track.poll_keyframe_wanted(now + KEYFRAME_INTERVAL));
    }

    #[test]
    fn sizes_up_to_1920x1088_either_way_up_are_decoded_and_no_others() {
        for (width, height) in [(1920, 1088), (1088, 1920), (2, 2)] {
            assert!(check_size(width, height).is_ok());
        }
        for (width, height) in [(1922, 2), (2, 1922), (1920, 1090), (u32::MAX, u32::MAX)] {
            assert!(check_size(width, height).is_err());
        }
    }

    #[test]
    fn the_size_in_a_subset_parameter_set_counts_as_well() {
        let mut data = keyframe(2560, 1440);
        let start = data.windows(4).position(|w| w == [0, 0, 1, 0x67]).unwrap();
        data[start + 3] = 0x6f;
        let decoded = PictureDecoder::default().decode(&unit(data, true));
        assert!(matches!(decoded, Err(DecodeError::TooLarge(2560, 1440))));
    }

    #[test]
    fn a_peer_may_change_the_size_of_its_picture() {
        // Browsers do it whenever their bandwidth estimate changes.
        let track = track();
        for (width, height) in [(640, 360), (320, 180), (1280, 720)] {
            track.submit(unit(keyframe(width, height), true));
            drain(&track);
            let ((w, h), _) = track.pictures.facts().unwrap();
            assert_eq!((w as usize, h as usize), (width, height));
        }
        assert_eq!(track.counters().decoded, 3);
        assert_eq!(track.counters().errors, 0);
    }

    #[test]
    fn nothing_is_wanted_of_a_peer_that_sends_no_video() {
        assert!(!track().poll_keyframe_wanted(Timestamp::from_millis(1)));
    }

    #[test]
    fn a_full_queue_drops_up_to_the_next_keyframe_and_asks_for_it() {
        let track = track();
        let key = keyframe(64, 64);
        for _ in 0..PENDING {
            track.submit(unit(key.clone(), true));
        }
        let now = Timestamp::from_millis(1000);
        assert!(!track.poll_keyframe_wanted(now));
        track.submit(unit(key.clone(), true));
        assert!(track.poll_keyframe_wanted(now), "full");
        assert!(!track.poll_keyframe_wanted(now), "asked just now");
        drain(&track);
        track.submit(unit(vec![0, 0, 0, 1, 0x41], false));
        assert_eq!(track.counters().skipped, 2);
        assert!(track.poll_keyframe_wanted(now + KEYFRAME_INTERVAL));
        track.submit(unit(key, true));
        assert!(!track.poll_keyframe_wanted(now + 2 * KEYFRAME_INTERVAL));
        drain(&track);
        assert_eq!(track.counters().decoded, PENDING as u64 + 1);
    }

    #[test]
    fn a_stream_with_a_full_queue_delays_another_by_one_unit() {
        let worker = Arc::<Worker>::default();
        let [crowd, single] = ["crowd", "single"]
            .map(|peer| VideoTrack::new(PeerId::new(peer), worker.clone(), Arc::default()));
        let key = keyframe(64, 64);
        for _ in 0..PENDING {
            crowd.submit(unit(key.clone(), true));
        }
        single.submit(unit(key, true));
        assert!(worker.take_one() && worker.take_one());
        assert_eq!(single.counters().decoded, 1);
        assert_eq!(crowd.counters().decoded, 1);
        drain(&crowd);
        assert_eq!(crowd.counters().decoded, PENDING as u64);
    }

    #[test]
    fn a_stream_of_hundreds_of_pictures_a_second_is_decoded_at_its_rate_and_goes_on_afterwards() {
        let track = track();
        let key = keyframe(64, 64);
        let at = |millis: u64| Timestamp::from_millis(100_000 + millis);
        for millis in 0..2_000 {
            let mut unit = unit(key.clone(), true);
            unit.arrived_at = at(millis);
            track.submit(unit);
            drain(&track);
        }
        let decoded = track.counters().decoded;
        assert!((200..=220).contains(&decoded), "{decoded}");
        let mut unit = unit(key, true);
        unit.arrived_at = at(2_100);
        track.submit(unit);
        drain(&track);
        assert_eq!(track.counters().decoded, decoded + 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(150))]
        #[test]
        fn no_damage_to_a_stream_panics(
            places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
            tail in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let track = track();
            let mut data = keyframe(64, 64);
            for (place, value) in places {
                let index = place.index(data.len());
                data[index] = value;
            }
            track.submit(unit(data, true));
            track.submit(unit([&[0, 0, 0, 1, 0x41][..], &tail].concat(), false));
            track.submit(unit([&[0, 0, 0, 1, 0x65][..], &tail].concat(), true));
            drain(&track);
            if let Some(picture) = track.pictures.newest() {
                prop_assert!(picture.png().is_ok());
            }
        }
    }
}
