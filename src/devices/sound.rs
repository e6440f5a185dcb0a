//! Which sound devices there are, as the kernel lists them.

use std::path::Path;

/// A sound device that is there, for `huddled devices`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoundInfo {
    /// What `[microphone] device` or `[speaker] device` may be; it stays when cards come in another order.
    pub name: String,
    /// What the driver calls it.
    pub title: String,
    /// It can be a microphone.
    pub captures: bool,
    /// It can be a speaker.
    pub plays: bool,
}

/// The PCM devices of the cards there are.
pub(super) fn list() -> Vec<SoundInfo> {
    let folder = Path::new("/proc/asound");
    // Without the file there is no sound at all.
    let pcms = std::fs::read_to_string(folder.join("pcm")).unwrap_or_default();
    parse(&pcms, |card| {
        let id = std::fs::read_to_string(folder.join(format!("card{card}/id"))).ok()?;
        Some(id.trim().to_owned())
    })
}

/// Reads lines such as `01-00: USB Audio : USB Audio : playback 1 : capture 1`.
fn parse(pcms: &str, id: impl Fn(u32) -> Option<String>) -> Vec<SoundInfo> {
    pcms.lines()
        .filter_map(|line| {
            let mut parts = line.split(": ").map(str::trim);
            let (card, device) = parts.next()?.trim_end_matches(':').split_once('-')?;
            let (card, device): (u32, u32) = (card.parse().ok()?, device.parse().ok()?);
            let title = parts.next()?.to_owned();
            let rest: Vec<&str> = parts.collect();
            let can = |what: &str| rest.iter().any(|part| part.starts_with(what));
            Some(SoundInfo {
                // Plugs convert, so that any card will do.
                name: format!("plughw:CARD={},DEV={device}", id(card)?),
                title,
                captures: can("capture"),
                plays: can("playback"),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_list_becomes_names_that_last() {
        let text = "00-00: ALC256 Analog : ALC256 Analog : playback 1 : capture 1\n\
                    00-03: HDMI 0 : HDMI 0 : playback 1\n\
                    01-00: USB Audio : USB Audio : capture 1\n\
                    nonsense\n07-00: Gone : Gone : capture 1\n";
        let ids = |card| match card {
            0 => Some("PCH".to_owned()),
            1 => Some("Webcam".to_owned()),
            _ => None,
        };
        let found = parse(text, ids);
        let names: Vec<_> = found
            .iter()
            .map(|one| (one.name.as_str(), one.captures, one.plays))
            .collect();
        assert_eq!(
            names,
            [
                ("plughw:CARD=PCH,DEV=0", true, true),
                ("plughw:CARD=PCH,DEV=3", false, true),
                ("plughw:CARD=Webcam,DEV=0", true, false),
            ]
        );
        assert_eq!(found[1].title, "HDMI 0");
    }
}
