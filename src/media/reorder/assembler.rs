//! RTP payloads that are in order, put together to access units (RFC 6184, packetization-mode 1: single NAL unit, STAP-A,
//! FU-A).
//!
//! Layers over the base layer (H.264 annexes F and G) are left out: nobody negotiated them, and their subset
//! parameter sets would bring a second picture size in.

use super::super::AccessUnit;
use crate::room::Timestamp;

/// Largest access unit put together, bytes.
pub(super) const MAX_UNIT: usize = 4 << 20;

pub(super) const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// NAL unit types (RFC 6184 table 1, H.264 table 7-1).
const NAL_IDR: u8 = 5;
const NAL_SPS: u8 = 7;
const NAL_DELIMITER: u8 = 9;
const NAL_PREFIX: u8 = 14;
const NAL_SUBSET_SPS: u8 = 15;
const NAL_SLICE_EXTENSION: u8 = 20;
const NAL_DEPTH_SLICE_EXTENSION: u8 = 21;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// A piece that cannot be part of a valid stream.
struct Malformed;

/// Puts packets that are in order together to access units.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    /// Annex B.
    pub(super) unit: Vec<u8>,
    /// A unit has begun.
    open: bool,
    media_time: u32,
    keyframe: bool,
    /// Type of the last NAL unit while it lacks fragments.
    fragmented: Option<u8>,
    /// The rest of this unit is useless.
    damaged: bool,
    /// Packets were lost just now: the next one need not begin a unit.
    uncertain: bool,
    /// Something is missing before the unit to come.
    after_loss: bool,
    pub(super) damaged_units: u64,
}

impl Assembler {
    pub(super) fn on_gap(&mut self) {
        if self.open {
            self.discard();
        }
        self.uncertain = true;
        self.after_loss = true;
    }

    pub(super) fn on_packet(
        &mut self,
        media_time: u32,
        marker: bool,
        payload: &[u8],
        units: &mut Vec<AccessUnit>,
        now: Timestamp,
    ) {
        if self.open && media_time != self.media_time {
            // The marker is only a hint (RFC 6184 section 5.1).
            self.finish(units, now);
        }
        if !self.open {
            self.open = true;
            self.media_time = media_time;
            self.damaged = self.uncertain && !begins_unit(payload);
        }
        self.uncertain = false;
        if !self.damaged && self.append(payload).is_err() {
            self.damaged = true;
        }
        if marker {
            self.finish(units, now);
        }
    }

    fn finish(&mut self, units: &mut Vec<AccessUnit>, now: Timestamp) {
        if self.damaged || self.fragmented.is_some() {
            self.discard();
            return;
        }
        let data = std::mem::take(&mut self.unit);
        let keyframe = std::mem::take(&mut self.keyframe);
        self.open = false;
        if !data.is_empty() {
            units.push(AccessUnit {
                data,
                media_time: self.media_time,
                keyframe,
                after_loss: std::mem::take(&mut self.after_loss),
                arrived_at: now,
            });
        }
    }

    fn discard(&mut self) {
        self.unit.clear();
        self.open = false;
        self.keyframe = false;
        self.fragmented = None;
        self.damaged = false;
        self.after_loss = true;
        self.damaged_units += 1;
    }

    fn append(&mut self, payload: &[u8]) -> Result<(), Malformed> {
        let Some((&header, body)) = payload.split_first() else {
            // Padding only.
            return Ok(());
        };
        if header & 0x80 != 0 {
            return Err(Malformed);
        }
        match header & 0x1f {
            FU_A => self.append_fragment(header, body),
            _ if self.fragmented.is_some() => Err(Malformed),
            1..=23 => self.append_nal(payload),
            STAP_A => {
                let mut rest = body;
                while !rest.is_empty() {
                    let (size, after) = rest.split_first_chunk().ok_or(Malformed)?;
                    let size = usize::from(u16::from_be_bytes(*size));
                    let (nal, after) = after.split_at_checked(size).ok_or(Malformed)?;
                    self.append_nal(nal)?;
                    rest = after;
                }
                Ok(())
            }
            // Reserved: to be ignored (RFC 6184 section 5.2).
            0 | 30 | 31 => Ok(()),
            // STAP-B, MTAP and FU-B exist in the interleaved mode only.
            _ => Err(Malformed),
        }
    }

    fn append_nal(&mut self, nal: &[u8]) -> Result<(), Malformed> {
        let Some(header) = nal.first() else {
            return Ok(());
        };
        let kind = header & 0x1f;
        if !(1..=23).contains(&kind) {
            return Err(Malformed);
        }
        if above_base_layer(kind) {
            return Ok(());
        }
        self.extend(&[&START_CODE, nal])?;
        self.keyframe |= kind == NAL_IDR;
        Ok(())
    }

    fn append_fragment(&mut self, indicator: u8, body: &[u8]) -> Result<(), Malformed> {
        let (&header, fragment) = body.split_first().ok_or(Malformed)?;
        let (start, end) = (header & 0x80 != 0, header & 0x40 != 0);
        if start == self.fragmented.is_some() {
            return Err(Malformed);
        }
        // The first fragment's word counts, or a fragment could get in under another type.
        let kind = self.fragmented.unwrap_or(header & 0x1f);
        if !(1..=23).contains(&kind) {
            return Err(Malformed);
        }
        self.fragmented = (!end).then_some(kind);
        if above_base_layer(kind) {
            return Ok(());
        }
        if start {
            self.extend(&[&START_CODE, &[indicator & 0xe0 | kind], fragment])?;
            self.keyframe |= kind == NAL_IDR;
        } else {
            self.extend(&[fragment])?;
        }
        Ok(())
    }

    fn extend(&mut self, pieces: &[&[u8]]) -> Result<(), Malformed> {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        if self.unit.len() + length > MAX_UNIT {
            return Err(Malformed);
        }
        for piece in pieces {
            self.unit.extend_from_slice(piece);
        }
        Ok(())
    }
}

/// A NAL unit type of another layer than the base layer, or one that only describes layers.
fn above_base_layer(kind: u8) -> bool {
    matches!(
        kind,
        NAL_PREFIX | NAL_SUBSET_SPS | NAL_SLICE_EXTENSION | NAL_DEPTH_SLICE_EXTENSION
    )
}

/// A packet that can only stand at the beginning of an access unit: parameter sets or a delimiter.
fn begins_unit(payload: &[u8]) -> bool {
    let kind = match payload {
        [header, _, _, first, ..] if header & 0x1f == STAP_A => first & 0x1f,
        [header, ..] => header & 0x1f,
        [] => return false,
    };
    matches!(kind, NAL_SPS | NAL_DELIMITER)
}
