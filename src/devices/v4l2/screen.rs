//! A screen's source: a V4L2 device that is not the room's camera, whatever both are called.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::identity::{Identity, SYS};
use super::{V4l2Camera, names};
use crate::clock;
use crate::config::{ScreenSettings, VideoDevice, VideoEncoding, VideoName};
use crate::devices::{Camera, DeviceError, RawFrame};
use crate::room::Timestamp;

/// How often an open source is compared with the cameras again: names may lead elsewhere after something was plugged in.
const COMPARE_INTERVAL: Duration = Duration::from_secs(1);

/// Tells the screen's source from the room's cameras.
struct Rule {
    cameras: Vec<VideoName>,
    /// Of a name, as long as it leads to something.
    find: fn(&str) -> Option<PathBuf>,
    sys: PathBuf,
}

impl Rule {
    fn new(cameras: &[VideoName]) -> Self {
        Self {
            cameras: cameras.to_vec(),
            find: names::find,
            sys: SYS.into(),
        }
    }

    /// The name of the camera that this node is, if it is one.
    fn camera_at(&self, node: &Path) -> Option<&VideoName> {
        let source = Identity::of(node, &self.sys).ok()?;
        self.camera_like(&source)
    }

    fn camera_like(&self, source: &Identity) -> Option<&VideoName> {
        self.cameras.iter().find(|camera| {
            let camera =
                (self.find)(camera.as_str()).and_then(|node| Identity::of(&node, &self.sys).ok());
            camera.is_some_and(|camera| camera.is_same_camera(source))
        })
    }

    fn refuse(&self, name: &str, source: &Identity) -> Result<(), DeviceError> {
        match self.camera_like(source) {
            None => Ok(()),
            Some(camera) => Err(DeviceError::Refused {
                device: name.to_owned(),
                reason: problem(camera),
            }),
        }
    }
}

fn problem(camera: &VideoName) -> String {
    format!(
        "it is the device of [camera] ({camera}), and a share would show the room while the camera is off; name another \
         capture device as [screen] device"
    )
}

/// Why the source that a configuration names cannot be used, as far as its names lead to devices now.
pub(in super::super) fn camera_as_screen(settings: &ScreenSettings) -> Option<String> {
    let VideoDevice::V4l2(name) = &settings.source.device else {
        return None;
    };
    let node = names::find(name.as_str())?;
    Rule::new(&settings.cameras).camera_at(&node).map(problem)
}

/// See the module.
pub(in super::super) struct V4l2Screen {
    camera: V4l2Camera,
    rule: Rule,
    compared_at: Timestamp,
}

impl V4l2Screen {
    /// Opens the source, unless it is one of the cameras.
    pub(in super::super) fn open(
        name: &VideoName,
        cameras: &[VideoName],
        wanted: &VideoEncoding,
    ) -> Result<Self, DeviceError> {
        let rule = Rule::new(cameras);
        // Before anything is opened, so that the camera's lamp stays dark.
        if let Some(node) = names::find(name.as_str())
            && let Ok(source) = Identity::of(&node, &rule.sys)
        {
            rule.refuse(name.as_str(), &source)?;
        }
        let camera = V4l2Camera::open(name, wanted)?;
        // What was opened counts, not what the name led to before.
        rule.refuse(name.as_str(), &camera.identity)?;
        Ok(Self {
            camera,
            rule,
            compared_at: clock::monotonic(),
        })
    }
}

impl Camera for V4l2Screen {
    fn name(&self) -> &str {
        self.camera.name()
    }

    fn start(&mut self) -> Result<(), DeviceError> {
        self.rule
            .refuse(self.camera.name(), &self.camera.identity)?;
        self.camera.start()
    }

    fn stop(&mut self) {
        self.camera.stop();
    }

    fn dequeue(&mut self, timeout: Duration, recycled: Vec<u8>) -> Result<RawFrame, DeviceError> {
        let now = clock::monotonic();
        if now.since(self.compared_at) >= COMPARE_INTERVAL {
            self.compared_at = now;
            self.rule
                .refuse(self.camera.name(), &self.camera.identity)?;
        }
        self.camera.dequeue(timeout, recycled)
    }

    fn damaged(&self) -> u64 {
        self.camera.damaged()
    }

    fn is_covered(&mut self) -> Option<bool> {
        self.camera.is_covered()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> VideoName {
        VideoName::parse(text).unwrap()
    }

    #[test]
    fn a_link_to_the_camera_is_refused_as_a_screen_and_another_device_is_not() {
        let folder = std::env::temp_dir().join(format!("huddled-screen-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let link = folder.join("usb-Capture-video-index0");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        let source = name(link.to_str().unwrap());
        let wanted = VideoEncoding {
            width: 320,
            height: 180,
            frame_rate: 10,
            bitrate: crate::room::Bitrate(300_000),
        };
        let refused = |cameras: &[VideoName]| {
            let error = V4l2Screen::open(&source, cameras, &wanted)
                .err()
                .expect("no video device");
            matches!(error, DeviceError::Refused { .. })
        };
        let cameras = [name("/dev/video-absent"), name("/dev/null")];
        assert!(refused(&cameras));
        // No camera, and then no video device either.
        assert!(!refused(&[name("/dev/zero")]));
        let error = V4l2Screen::open(&source, &cameras, &wanted).err().unwrap();
        assert!(error.worth_retrying(), "another device may be plugged in");
        assert!(
            error.to_string().contains("[camera] (/dev/null)"),
            "{error}"
        );
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_camera_that_appears_later_at_the_same_device_is_noticed() {
        use std::sync::atomic::{AtomicBool, Ordering};
        static PLUGGED_IN: AtomicBool = AtomicBool::new(false);
        let rule = Rule {
            cameras: vec![name("usb-Camera")],
            find: |_| {
                PLUGGED_IN
                    .load(Ordering::SeqCst)
                    .then(|| "/dev/null".into())
            },
            sys: "/nonexistent".into(),
        };
        let source = Identity::of(Path::new("/dev/null"), &rule.sys).unwrap();
        assert!(rule.refuse("screen", &source).is_ok());
        PLUGGED_IN.store(true, Ordering::SeqCst);
        assert!(rule.refuse("screen", &source).is_err());
    }
}
