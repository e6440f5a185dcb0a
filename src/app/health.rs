//! Counters and levels of the pipelines as one JSON document, for `huddlectl health`.

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::devices::Heard;
use crate::media::capture::VideoOutHealth;
use crate::media::inbound::{PeerHealth, VideoHealth};
use crate::room::Timestamp;

use super::dispatch::Shells;

/// Where a collected document goes.
pub(super) type HealthRequest = oneshot::Sender<Value>;

/// Asks the driver, which owns what is measured. Blocks; `null` while the driver is ending.
pub(super) fn ask(driver: &mpsc::Sender<HealthRequest>) -> Value {
    let (reply, answer) = oneshot::channel();
    if driver.blocking_send(reply).is_err() {
        return Value::Null;
    }
    answer.blocking_recv().unwrap_or(Value::Null)
}

/// Reads every pipeline's counters. Times are milliseconds of `CLOCK_MONOTONIC`.
pub(super) fn collect(shells: &Shells) -> Value {
    let audio = shells.audio.health();
    let inbound = shells.inbound.health();
    json!({
        "video_out": pictures_out(&shells.video.health()),
        "screen_out": shells.screen.as_ref().map(|screen| pictures_out(&screen.health())),
        "audio_out": {
            "periods": audio.periods,
            "packets": audio.packets,
            "packets_while_muted_with_sound": audio.packets_while_muted_with_sound,
            "level_dbfs": audio.level_dbfs,
            "xruns": audio.xruns,
            "lost": audio.lost,
        },
        "speaker": {
            "open": inbound.speaker_open,
            "xruns": inbound.speaker_xruns,
            "heard": inbound.heard.as_ref().map(heard),
        },
        "peers_in": inbound.peers.iter().map(peer_in).collect::<Vec<_>>(),
        "connections": shells.peers.health().iter().map(|peer| json!({
            "user_id": peer.peer.as_str(),
            "generation": peer.generation.0,
            "packets_sent": peer.packets_sent,
            "bytes_sent": peer.bytes_sent,
            "frames_sent": peer.frames_sent,
            "packets_received": peer.packets_received,
            "bytes_received": peer.bytes_received,
            "keyframes_requested": peer.keyframes_requested,
            "packets_resent": peer.packets_resent,
            "resends_refused": peer.resends_refused,
            "candidates_dropped": peer.candidates_dropped,
            "datagrams_dropped": peer.datagrams_dropped,
            "early_flights": peer.early_flights,
            "checks_withheld": peer.checks_withheld,
            "round_trip_ms": peer.round_trip_time.map(|time| time.as_secs_f64() * 1000.0),
        })).collect::<Vec<_>>(),
        "relays": shells.peers.relays().iter().map(|relay| json!({
            "url": relay.url,
            "works": relay.works,
            "problem": relay.problem,
        })).collect::<Vec<_>>(),
    })
}

fn pictures_out(video: &VideoOutHealth) -> Value {
    json!({
        "captured": video.captured,
        "encoded": video.encoded,
        "dropped": video.dropped,
        "missed": video.missed,
        "damaged": video.damaged,
        "keyframes": video.keyframes,
        "black": video.black,
        "failed": video.failed,
        "bytes": video.bytes,
        "lost": video.lost,
    })
}

fn millis(time: Option<Timestamp>) -> Option<f64> {
    time.map(|time| time.as_duration().as_secs_f64() * 1000.0)
}

fn heard(heard: &Heard) -> Value {
    json!({
        "level_dbfs": heard.level_dbfs,
        "frequency_hz": heard.frequency_hz,
        "onset_ms": millis(heard.onset_at),
        "last_sound_ms": millis(heard.last_sound_at),
    })
}

fn peer_in(peer: &PeerHealth) -> Value {
    let audio = &peer.audio;
    json!({
        "user_id": peer.peer.as_str(),
        "generation": peer.generation.0,
        "audio": {
            "packets": audio.packets,
            "lost": audio.lost,
            "late": audio.late,
            "duplicates": audio.duplicates,
            "discarded": audio.discarded,
            "malformed": audio.malformed,
            "concealed_ms": audio.concealed_ms,
            "fec_recovered": audio.fec_recovered,
            "restarts": audio.restarts,
            "target_ms": audio.target_ms,
            "delay_ms": audio.delay_ms,
            "level_dbfs": audio.level_dbfs,
            "frequency_hz": audio.frequency_hz,
        },
        "video": pictures_in(&peer.video),
        "screen": pictures_in(&peer.screen),
    })
}

fn pictures_in(video: &VideoHealth) -> Value {
    json!({
        "packets": video.packets,
        "lost": video.lost,
        "damaged_units": video.damaged_units,
        "decoded": video.decoded,
        "decode_errors": video.decode_errors,
        "skipped_units": video.skipped_units,
        "keyframes_asked": video.keyframes_asked,
        "width": video.size.map(|size| size.0),
        "height": video.size.map(|size| size.1),
        "last_picture_ms": millis(video.last_picture_at),
    })
}
