//! Time made shorter or longer without a change of pitch: one period of the waveform is left out or
//! repeated where it fits best (the idea of WSOLA, Verhelst and Roelands 1993).

/// Shortest piece, 2.5 ms.
pub(crate) const MIN_LAG: usize = 120;
/// Longest piece, 15 ms: one period of the lowest voices.
pub(crate) const MAX_LAG: usize = 720;
/// Samples compared and blended, 5 ms.
const OVERLAP: usize = 240;
/// Samples looked at.
pub(crate) const SPAN: usize = MAX_LAG + OVERLAP;
/// The first search looks at every fourth sample.
const COARSE: usize = 4;
/// Energy below which everything fits: -50 dBFS.
const QUIET: f32 = OVERLAP as f32 * 1e-5;

/// The lag at which the first [`SPAN`] samples resemble themselves most, and how much: 1 is a perfect
/// repetition or silence. `None` if there are fewer samples.
pub(crate) fn best_lag(samples: &[f32]) -> Option<(usize, f32)> {
    let samples = samples.get(..SPAN)?;
    if samples.iter().map(|s| s * s).sum::<f32>() < QUIET {
        return Some((MAX_LAG, 1.0));
    }
    let coarse = best_of(samples, (MIN_LAG..=MAX_LAG).step_by(COARSE), COARSE)?.0;
    let around = coarse.saturating_sub(COARSE).max(MIN_LAG)..=(coarse + COARSE).min(MAX_LAG);
    best_of(samples, around, 1)
}

fn best_of(
    samples: &[f32],
    lags: impl Iterator<Item = usize>,
    step: usize,
) -> Option<(usize, f32)> {
    lags.map(|lag| (lag, resemblance(samples, lag, step)))
        .max_by(|a, b| a.1.total_cmp(&b.1))
}

/// Normalised cross-correlation of the first samples and those `lag` later.
fn resemblance(samples: &[f32], lag: usize, step: usize) -> f32 {
    let (mut product, mut here, mut there) = (0.0, 1e-9, 1e-9);
    for index in (0..OVERLAP).step_by(step) {
        let (a, b) = (samples[index], samples[index + lag]);
        product += a * b;
        here += a * a;
        there += b * b;
    }
    product / f32::sqrt(here * there)
}

/// Leaves out `lag` samples from `start` on.
pub(crate) fn shrink(samples: &mut Vec<f32>, start: usize, lag: usize) {
    let (before, after) = samples.split_at_mut(start + lag);
    let length = OVERLAP.min(lag);
    blend(&before[start..start + length], after);
    samples.drain(start..start + lag);
}

/// Repeats the `lag` samples from `start` on.
pub(crate) fn grow(samples: &mut Vec<f32>, start: usize, lag: usize) {
    // What follows the repeated piece fades into its beginning.
    let mut again = samples[start..start + lag].to_vec();
    let next = start + lag;
    let length = OVERLAP.min(lag).min(samples.len() - next);
    blend(&samples[next..next + length], &mut again);
    samples.splice(next..next, again);
}

/// Goes over from `from` to `into` within the length of `from`, in place.
pub(crate) fn blend(from: &[f32], into: &mut [f32]) {
    let length = from.len() as f32;
    for (index, (old, new)) in from.iter().zip(into).enumerate() {
        let share = index as f32 / length;
        *new = old * (1.0 - share) + *new * share;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(frequency: f32) -> Vec<f32> {
        (0..4800)
            .map(|n| 0.5 * (n as f32 * frequency * std::f32::consts::TAU / 48_000.0).sin())
            .collect()
    }

    fn steepest(samples: &[f32]) -> f32 {
        samples
            .windows(2)
            .map(|pair| (pair[1] - pair[0]).abs())
            .fold(0.0, f32::max)
    }

    #[test]
    fn a_tone_gets_shorter_and_longer_without_a_click() {
        for frequency in [100.0, 150.0, 440.0, 1000.0, 1777.0] {
            let original = tone(frequency);
            let (lag, quality) = best_lag(&original[1000..]).unwrap();
            assert!(quality > 0.97, "{frequency} Hz: {quality} at {lag}");
            let limit = steepest(&original) * 1.1;
            let mut shorter = original.clone();
            shrink(&mut shorter, 1000, lag);
            assert_eq!(shorter.len(), original.len() - lag);
            assert!(steepest(&shorter) < limit, "{frequency} Hz shorter");
            let mut longer = original.clone();
            grow(&mut longer, 1000, lag);
            assert_eq!(longer.len(), original.len() + lag);
            assert!(steepest(&longer) < limit, "{frequency} Hz longer");
        }
    }

    #[test]
    fn noise_resembles_itself_little_and_silence_completely() {
        let mut state = 1_u32;
        let noise: Vec<f32> = (0..SPAN)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect();
        assert!(best_lag(&noise).unwrap().1 < 0.5);
        assert_eq!(best_lag(&vec![0.0; SPAN]).unwrap(), (MAX_LAG, 1.0));
        assert!(best_lag(&noise[1..]).is_none());
    }

    #[test]
    fn the_end_of_the_samples_is_no_trouble() {
        let mut samples = tone(440.0)[..SPAN].to_vec();
        grow(&mut samples, 0, MAX_LAG);
        shrink(&mut samples, SPAN, MAX_LAG);
        assert_eq!(samples.len(), SPAN);
    }
}
