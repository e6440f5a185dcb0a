//! Session descriptions of the fake connections, with what the fakes read in them again.

use huddled::room::Sdp;

use super::super::bench::SECTIONS;

/// Text of a description: which end made it, which number it has, its ICE credentials.
pub(super) fn write_sdp(
    end: usize,
    description: u64,
    ufrag: u64,
    from_box: bool,
    screen: Option<bool>,
) -> Sdp {
    let third = match screen {
        None => String::new(),
        Some(sends) => {
            let way = if sends { "sendrecv" } else { "recvonly" };
            format!(
                "m=video 9 UDP/TLS/RTP/SAVPF 102\r\na=mid:2\r\na=rtpmap:102 H264/90000\r\na={way}\r\n"
            )
        }
    };
    let tool = if from_box { "a=tool:huddled\r\n" } else { "" };
    Sdp::new(&format!(
        "v=0\r\no=- {end} {description} IN IP4 0.0.0.0\r\ns=-\r\n{tool}\
         a=fingerprint:sha-256 {:02X}:{:02X}\r\na=ice-ufrag:u{ufrag}\r\na=ice-pwd:secret\r\n{SECTIONS}{third}",
        end / 256,
        end % 256
    ))
}

pub(super) fn read_sdp(sdp: &Sdp) -> Option<(usize, u64)> {
    let origin = sdp
        .as_str()
        .lines()
        .find_map(|line| line.strip_prefix("o=- "))?;
    let mut words = origin.split(' ');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

pub(super) fn read_ufrag(sdp: &Sdp) -> Option<u64> {
    let mut lines = sdp.as_str().lines();
    lines
        .find_map(|line| line.strip_prefix("a=ice-ufrag:u"))?
        .parse()
        .ok()
}
