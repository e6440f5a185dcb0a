//! One encoded stream to many peers: a small slot for each, and a publisher that never waits.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::{EncodedAudio, EncodedVideo};

/// Frames that wait in a slot at most: a quarter of a second.
const VIDEO_CAPACITY: usize = 8;
/// Packets that wait in a slot at most: 200 ms.
const AUDIO_CAPACITY: usize = 10;

/// What a peer's session gets from its slot.
#[derive(Clone, Debug)]
pub enum Outgoing {
    /// The next frame.
    Video(EncodedVideo),
    /// The next packet.
    Audio(EncodedAudio),
    /// The next frame of the screen.
    Screen(EncodedVideo),
    /// Frames were dropped, or the slot was opened: nothing but a keyframe helps. Said once; ask for one.
    KeyframeNeeded,
    /// The same of the screen; said of an opened slot once a frame of it was dropped.
    ScreenKeyframeNeeded,
}

/// What a slot did not deliver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotDrops {
    /// Frames of the camera dropped because the slot was full or waited for a keyframe.
    pub video: u64,
    /// The same of the screen.
    pub screen: u64,
    /// Packets dropped because the slot was full.
    pub audio: u64,
}

/// The publisher's side.
#[derive(Debug, Default)]
pub struct Fanout {
    slots: Mutex<Vec<Arc<Shared>>>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    open: bool,
    video: Lane,
    screen: Lane,
    audio: VecDeque<EncodedAudio>,
    dropped_audio: u64,
}

/// The frames of one stream.
#[derive(Debug, Default)]
struct Lane {
    frames: VecDeque<EncodedVideo>,
    /// Frames are worthless until one comes that starts anew.
    awaits_keyframe: bool,
    /// To be said once.
    keyframe_needed: bool,
    /// It was said, or whoever publishes knows.
    asked: bool,
    dropped: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here panics while it holds a lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fanout {
    /// A fan-out without subscribers.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// A closed slot for one peer. Dropping it unsubscribes.
    pub fn subscribe(self: &Arc<Self>) -> Slot {
        let shared = Arc::new(Shared::default());
        lock(&self.slots).push(Arc::clone(&shared));
        Slot {
            shared,
            fanout: Arc::clone(self),
        }
    }

    /// Gives a frame to every open slot; never waits.
    pub fn publish_video(&self, frame: &EncodedVideo) {
        for slot in lock(&self.slots).iter() {
            if lock(&slot.queue).push_video(frame) {
                slot.filled.notify_one();
            }
        }
    }

    /// Gives a frame of the screen to every open slot; never waits.
    pub fn publish_screen(&self, frame: &EncodedVideo) {
        for slot in lock(&self.slots).iter() {
            if lock(&slot.queue).push_screen(frame) {
                slot.filled.notify_one();
            }
        }
    }

    /// Gives a packet to every open slot; never waits.
    pub fn publish_audio(&self, packet: &EncodedAudio) {
        for slot in lock(&self.slots).iter() {
            if lock(&slot.queue).push_audio(packet) {
                slot.filled.notify_one();
            }
        }
    }

    /// Throws away the packets that no session has taken yet: what was said before a mute must not leave
    /// after it is confirmed. Sequence numbers are made when a packet is sent, so no gap appears.
    pub fn drop_audio(&self) {
        for slot in lock(&self.slots).iter() {
            let mut queue = lock(&slot.queue);
            queue.dropped_audio += queue.audio.len() as u64;
            queue.audio.clear();
        }
    }

    /// Throws away the frames that no session has taken yet; a keyframe must follow.
    pub fn drop_video(&self) {
        for slot in lock(&self.slots).iter() {
            lock(&slot.queue).video.clear();
        }
    }

    /// The same of the screen.
    pub fn drop_screen(&self) {
        for slot in lock(&self.slots).iter() {
            lock(&slot.queue).screen.clear();
        }
    }

    /// How many slots there are, open or not.
    pub fn subscribers(&self) -> usize {
        lock(&self.slots).len()
    }
}

impl Lane {
    /// Whether there is something new to take.
    fn push(&mut self, frame: &EncodedVideo) -> bool {
        if self.awaits_keyframe && !frame.keyframe {
            self.dropped += 1;
            self.keyframe_needed |= !self.asked;
            return !std::mem::replace(&mut self.asked, true);
        }
        self.awaits_keyframe = false;
        self.asked = false;
        if self.frames.len() >= VIDEO_CAPACITY {
            // Cleared up to the next keyframe, which may be waiting already or be this very frame.
            let keep = self
                .frames
                .iter()
                .skip(1)
                .position(|waiting| waiting.keyframe)
                .map_or(self.frames.len(), |index| index + 1);
            self.frames.drain(..keep);
            self.dropped += keep as u64;
            if self.frames.is_empty() && !frame.keyframe {
                self.dropped += 1;
                self.awaits_keyframe = true;
                self.keyframe_needed = true;
                self.asked = true;
                return true;
            }
        }
        self.frames.push_back(frame.clone());
        true
    }

    fn clear(&mut self) {
        self.dropped += self.frames.len() as u64;
        self.frames.clear();
        self.awaits_keyframe = true;
        self.asked = true;
    }

    /// `asks`: it says at once what it needs; else when there is something that it cannot take.
    fn set_open(&mut self, open: bool, asks: bool) {
        self.frames.clear();
        self.awaits_keyframe = open;
        self.keyframe_needed = open && asks;
        self.asked = asks;
    }
}

impl Queue {
    fn push_video(&mut self, frame: &EncodedVideo) -> bool {
        self.open && self.video.push(frame)
    }

    fn push_screen(&mut self, frame: &EncodedVideo) -> bool {
        self.open && self.screen.push(frame)
    }

    fn push_audio(&mut self, packet: &EncodedAudio) -> bool {
        if !self.open {
            return false;
        }
        if self.audio.len() >= AUDIO_CAPACITY {
            self.audio.pop_front();
            self.dropped_audio += 1;
        }
        self.audio.push_back(packet.clone());
        true
    }

    fn pop(&mut self) -> Option<Outgoing> {
        if std::mem::take(&mut self.video.keyframe_needed) {
            return Some(Outgoing::KeyframeNeeded);
        }
        if std::mem::take(&mut self.screen.keyframe_needed) {
            return Some(Outgoing::ScreenKeyframeNeeded);
        }
        // Sound first: it is small, and a late packet is heard at once.
        if let Some(packet) = self.audio.pop_front() {
            return Some(Outgoing::Audio(packet));
        }
        // Faces before slides: a late slide is not seen.
        if let Some(frame) = self.video.frames.pop_front() {
            return Some(Outgoing::Video(frame));
        }
        self.screen.frames.pop_front().map(Outgoing::Screen)
    }
}

/// One peer's side.
#[derive(Debug)]
pub struct Slot {
    shared: Arc<Shared>,
    fanout: Arc<Fanout>,
}

impl Slot {
    /// Opens or closes the slot. A closed one holds nothing; an opened one starts with
    /// [`Outgoing::KeyframeNeeded`] and lets video through from the next keyframe on.
    pub fn set_open(&self, open: bool) {
        {
            let mut queue = lock(&self.shared.queue);
            if queue.open == open {
                return;
            }
            queue.open = open;
            queue.video.set_open(open, true);
            // Perhaps nothing is shared.
            queue.screen.set_open(open, false);
            queue.audio.clear();
        }
        if open {
            self.shared.filled.notify_one();
        }
    }

    /// Waits for the next thing to send. Cancel-safe: what is not returned stays in the slot.
    pub async fn next(&mut self) -> Outgoing {
        loop {
            if let Some(outgoing) = lock(&self.shared.queue).pop() {
                return outgoing;
            }
            self.shared.filled.notified().await;
        }
    }

    /// What was dropped since the subscription.
    pub fn drops(&self) -> SlotDrops {
        let queue = lock(&self.shared.queue);
        SlotDrops {
            video: queue.video.dropped,
            screen: queue.screen.dropped,
            audio: queue.dropped_audio,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        lock(&self.fanout.slots).retain(|slot| !Arc::ptr_eq(slot, &self.shared));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::Timestamp;
    use bytes::Bytes;
    use futures_util::FutureExt;

    fn frame(media_time: u32, keyframe: bool) -> EncodedVideo {
        EncodedVideo {
            payloads: Arc::from([Bytes::from_static(b"x")]),
            media_time,
            keyframe,
            captured_at: Timestamp::default(),
        }
    }

    fn packet(media_time: u32) -> EncodedAudio {
        EncodedAudio {
            payload: Bytes::from_static(b"x"),
            media_time,
            captured_at: Timestamp::default(),
        }
    }

    /// Everything that is there, in short: K = keyframe needed, v = video, a = audio.
    fn drain(slot: &mut Slot) -> Vec<String> {
        std::iter::from_fn(|| slot.next().now_or_never())
            .map(|outgoing| match outgoing {
                Outgoing::KeyframeNeeded => "K".to_owned(),
                Outgoing::ScreenKeyframeNeeded => "S".to_owned(),
                Outgoing::Screen(frame) => format!("s{}", frame.media_time),
                Outgoing::Video(frame) => format!("v{}", frame.media_time),
                Outgoing::Audio(packet) => format!("a{}", packet.media_time),
            })
            .collect()
    }

    #[test]
    fn a_closed_slot_holds_nothing() {
        let fanout = Fanout::new();
        let mut slot = fanout.subscribe();
        fanout.publish_video(&frame(1, true));
        fanout.publish_audio(&packet(1));
        assert!(drain(&mut slot).is_empty());
        slot.set_open(true);
        slot.set_open(true);
        assert_eq!(drain(&mut slot), ["K"]);
        fanout.publish_video(&frame(2, true));
        slot.set_open(false);
        assert!(drain(&mut slot).is_empty());
    }

    #[test]
    fn what_was_said_before_a_mute_is_not_taken_after_it() {
        let fanout = Fanout::new();
        let mut slot = fanout.subscribe();
        slot.set_open(true);
        fanout.publish_audio(&packet(1));
        fanout.publish_audio(&packet(2));
        fanout.drop_audio();
        fanout.publish_audio(&packet(3));
        assert_eq!(drain(&mut slot), ["K", "a3"]);
        assert_eq!(slot.drops().audio, 2);
    }

    #[test]
    fn what_was_seen_before_the_camera_went_off_is_not_taken_after_it() {
        let fanout = Fanout::new();
        let mut slot = fanout.subscribe();
        slot.set_open(true);
        fanout.publish_video(&frame(1, true));
        fanout.publish_video(&frame(2, false));
        fanout.drop_video();
        fanout.publish_video(&frame(3, true));
        assert_eq!(drain(&mut slot), ["K", "v3"]);
    }

    #[test]
    fn an_opened_slot_asks_for_a_keyframe_and_starts_with_it() {
        let fanout = Fanout::new();
        let mut slot = fanout.subscribe();
        slot.set_open(true);
        fanout.publish_audio(&packet(1));
        fanout.publish_video(&frame(1, false));
        fanout.publish_video(&frame(2, true));
        fanout.publish_video(&frame(3, false));
        assert_eq!(drain(&mut slot), ["K", "a1", "v2", "v3"]);
        assert_eq!(
            slot.drops(),
            SlotDrops {
                video: 1,
                ..SlotDrops::default()
            }
        );
    }

    #[test]
    fn a_full_slot_is_cleared_and_waits_for_a_keyframe() {
        let fanout = Fanout::new();
        let mut slow = fanout.subscribe();
        let mut quick = fanout.subscribe();
        slow.set_open(true);
        quick.set_open(true);
        assert_eq!(drain(&mut slow), ["K"]);
        assert_eq!(drain(&mut quick), ["K"]);
        fanout.publish_video(&frame(0, true));
        for time in 1..=9 {
            assert_eq!(drain(&mut quick), [format!("v{}", time - 1)]);
            fanout.publish_video(&frame(time, false));
        }
        assert_eq!(drain(&mut slow), ["K"]);
        assert_eq!(slow.drops().video, 10);
        fanout.publish_video(&frame(10, true));
        assert_eq!(drain(&mut slow), ["v10"]);
        assert_eq!(quick.drops().video, 0);
    }

    #[test]
    fn a_full_slot_keeps_from_a_waiting_keyframe_on() {
        let fanout = Fanout::new();
        let mut slot = fanout.subscribe();
        slot.set_open(true);
        for time in 0..9 {
            fanout.publish_video(&frame(time, time == 0 || time == 6));
        }
        assert_eq!(drain(&mut slot), ["K", "v6", "v7", "v8"]);
    }

    #[test]
    fn a_full_lane_of_the_screen_takes_nothing_from_the_camera() {
        let fanout = Fanout::new();
        let mut slot = fanout.subscribe();
        slot.set_open(true);
        assert_eq!(drain(&mut slot), ["K"]);
        fanout.publish_screen(&frame(90, false));
        fanout.publish_screen(&frame(91, false));
        assert_eq!(drain(&mut slot), ["S"], "it begins with a keyframe");
        for time in 100..109 {
            fanout.publish_screen(&frame(time, time == 100));
        }
        fanout.publish_video(&frame(1, true));
        fanout.publish_audio(&packet(2));
        assert_eq!(drain(&mut slot), ["S", "a2", "v1"]);
        fanout.publish_screen(&frame(110, true));
        assert_eq!(drain(&mut slot), ["s110"]);
        assert_eq!(slot.drops().screen, 11);
    }

    #[test]
    fn old_sound_makes_room_for_new() {
        let fanout = Fanout::new();
        let mut slot = fanout.subscribe();
        slot.set_open(true);
        assert_eq!(drain(&mut slot), ["K"]);
        for time in 0..13 {
            fanout.publish_audio(&packet(time));
        }
        let expected: Vec<String> = (3..13).map(|time| format!("a{time}")).collect();
        assert_eq!(drain(&mut slot), expected);
        assert_eq!(slot.drops().audio, 3);
    }

    #[test]
    fn dropping_a_slot_unsubscribes_it() {
        let fanout = Fanout::new();
        let one = fanout.subscribe();
        let two = fanout.subscribe();
        assert_eq!(fanout.subscribers(), 2);
        drop(one);
        assert_eq!(fanout.subscribers(), 1);
        drop(two);
        fanout.publish_video(&frame(1, true));
        assert_eq!(fanout.subscribers(), 0);
    }

    #[tokio::test]
    async fn a_waiting_session_wakes() {
        let fanout = Fanout::new();
        let mut slot = fanout.subscribe();
        slot.set_open(true);
        assert!(matches!(slot.next().await, Outgoing::KeyframeNeeded));
        let waiting = tokio::spawn(async move { slot.next().await });
        tokio::task::yield_now().await;
        fanout.publish_audio(&packet(5));
        let got = tokio::time::timeout(std::time::Duration::from_secs(5), waiting)
            .await
            .expect("it wakes")
            .unwrap();
        assert!(matches!(got, Outgoing::Audio(packet) if packet.media_time == 5));
    }
}
