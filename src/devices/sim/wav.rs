//! WAV files as 48 kHz mono.

use std::path::Path;

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{
    Async, FixedAsync, Resampler, SincInterpolationParameters, SincInterpolationType,
    WindowFunction,
};

use crate::devices::{DeviceError, SAMPLE_RATE};

/// Longest recording that is loaded, seconds.
const MAX_SECONDS: u32 = 600;
/// Most samples that are loaded, of all channels: 120 MB as `f32`.
const MAX_SAMPLES: u32 = 30_000_000;

/// Loads a whole file: channels averaged, other rates resampled, at most ten minutes and 30 million samples.
pub(super) fn load(device: &str, path: &Path) -> Result<Vec<i16>, DeviceError> {
    read(path).map_err(|reason| DeviceError::Misconfigured {
        device: device.to_owned(),
        reason: format!("{}: {reason}", path.display()),
    })
}

fn read(path: &Path) -> Result<Vec<i16>, String> {
    let mut reader =
        hound::WavReader::open(path).map_err(|error| format!("cannot be read as WAV: {error}"))?;
    let spec = reader.spec();
    let channels = usize::from(spec.channels);
    if !(1..=2).contains(&channels) {
        return Err(format!("{channels} channels; mono or stereo is possible"));
    }
    if !(4_000..=384_000).contains(&spec.sample_rate) {
        return Err(format!(
            "a rate of {} Hz; 4000 to 384000 Hz are possible",
            spec.sample_rate
        ));
    }
    if reader.duration() == 0 {
        return Err("it has no samples".to_owned());
    }
    if reader.duration() / spec.sample_rate > MAX_SECONDS {
        return Err(format!("longer than {MAX_SECONDS} s; cut it"));
    }
    if reader.len() > MAX_SAMPLES {
        return Err(format!(
            "{} samples; at most {MAX_SAMPLES} are possible: cut it, or make it mono or of a lower rate",
            reader.len()
        ));
    }
    let samples: Result<Vec<f32>, hound::Error> = match spec.sample_format {
        hound::SampleFormat::Float => reader.samples::<f32>().collect(),
        hound::SampleFormat::Int => {
            let scale = 0.5f32.powi(i32::from(spec.bits_per_sample) - 1);
            reader
                .samples::<i32>()
                .map(|sample| sample.map(|value| value as f32 * scale))
                .collect()
        }
    };
    let samples = samples.map_err(|error| format!("its samples cannot be read: {error}"))?;
    let mono: Vec<f32> = samples
        .chunks_exact(channels)
        .map(|frame| frame.iter().sum::<f32>() / channels as f32)
        .collect();
    let mono = if spec.sample_rate == SAMPLE_RATE {
        mono
    } else {
        resample(&mono, spec.sample_rate)?
    };
    if mono.is_empty() {
        return Err("too short".to_owned());
    }
    Ok(mono
        .iter()
        // A float file may hold anything; NaN becomes 0.
        .map(|value| (value.clamp(-1.0, 1.0) * 32_767.0) as i16)
        .collect())
}

fn resample(samples: &[f32], rate: u32) -> Result<Vec<f32>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("cannot be resampled: {error}");
    // Sinc and not the crate's FFT, which would compile all of rustfft into this crate for a rare file.
    let parameters = SincInterpolationParameters {
        sinc_len: 128,
        f_cutoff: Some(0.95),
        interpolation: SincInterpolationType::Linear,
        oversampling_factor: 256,
        window: WindowFunction::BlackmanHarris2,
    };
    let ratio = f64::from(SAMPLE_RATE) / f64::from(rate);
    let mut resampler = Async::<f32>::new_sinc(ratio, 1.0, &parameters, 1024, 1, FixedAsync::Input)
        .map_err(|error| failed(&error))?;
    let input = InterleavedSlice::new(samples, 1, samples.len()).map_err(|error| failed(&error))?;
    let output = resampler
        .process_all(&input, samples.len(), None)
        .map_err(|error| failed(&error))?;
    Ok(output.take_data())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn write(name: &str, spec: hound::WavSpec, seconds: f64) -> PathBuf {
        let path = std::env::temp_dir().join(format!("huddled-{}-{name}", std::process::id()));
        let mut writer = hound::WavWriter::create(&path, spec).unwrap();
        for index in 0..(seconds * f64::from(spec.sample_rate)) as usize {
            let t = index as f64 / f64::from(spec.sample_rate);
            let value = 0.5 * (t * std::f64::consts::TAU * 500.0).sin();
            for channel in 0..spec.channels {
                // Stereo with the right channel twice as loud: the average is 0.75 of it.
                let value = value * if channel == 1 { 2.0 } else { 1.0 };
                match spec.sample_format {
                    hound::SampleFormat::Float => writer.write_sample(value as f32).unwrap(),
                    hound::SampleFormat::Int => {
                        let scale = f64::from(1u32 << (spec.bits_per_sample - 1)) - 1.0;
                        writer.write_sample((value * scale) as i32).unwrap();
                    }
                }
            }
        }
        writer.finalize().unwrap();
        path
    }

    fn spec(channels: u16, sample_rate: u32, bits: u16) -> hound::WavSpec {
        hound::WavSpec {
            channels,
            sample_rate,
            bits_per_sample: bits,
            sample_format: if bits == 32 {
                hound::SampleFormat::Float
            } else {
                hound::SampleFormat::Int
            },
        }
    }

    #[test]
    fn usual_formats_become_48_khz_mono() {
        for (channels, rate, bits, peak) in [
            (1, 48_000, 16, 0.5),
            (2, 48_000, 16, 0.75),
            (1, 44_100, 24, 0.5),
            (2, 16_000, 32, 0.75),
            (1, 8_000, 8, 0.5),
        ] {
            let path = write(
                &format!("{rate}-{bits}.wav"),
                spec(channels, rate, bits),
                1.0,
            );
            let samples = load("sim:file", &path).unwrap();
            let length = samples.len();
            assert!((47_900..=48_100).contains(&length), "{rate} Hz: {length}");
            let found = samples[4_800..43_200]
                .iter()
                .map(|s| s.unsigned_abs())
                .max();
            let found = f64::from(found.unwrap()) / 32_767.0;
            assert!((found - peak).abs() < 0.03, "{rate} Hz: {found}");
            let crossings = samples.windows(2).filter(|w| w[0] < 0 && w[1] >= 0).count();
            assert!((495..=505).contains(&crossings), "{rate} Hz: {crossings}");
            std::fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn what_is_no_usable_wav_is_refused_by_name() {
        let empty = write("empty.wav", spec(1, 48_000, 16), 0.0);
        let error = load("sim:file", &empty).unwrap_err();
        assert!(error.to_string().contains("empty.wav: it has no samples"));
        assert!(!error.worth_retrying());
        std::fs::write(&empty, b"RIFF....WAVEfmt ").unwrap();
        assert!(load("sim:file", &empty).is_err());
        // A header alone that promises 60 s at 384 kHz in stereo.
        let huge = write("huge.wav", spec(2, 384_000, 16), 0.0);
        let mut bytes = std::fs::read(&huge).unwrap();
        let length = bytes.len();
        let promised = 60 * 384_000 * 2 * 2_u32;
        bytes[length - 4..].copy_from_slice(&promised.to_le_bytes());
        std::fs::write(&huge, bytes).unwrap();
        let error = load("sim:file", &huge).unwrap_err();
        assert!(error.to_string().contains("46080000 samples"), "{error}");
        std::fs::remove_file(huge).unwrap();
        std::fs::remove_file(empty).unwrap();
        assert!(load("sim:file", Path::new("/nonexistent.wav")).is_err());
    }
}
