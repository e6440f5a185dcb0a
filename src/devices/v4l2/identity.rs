//! What a video node is, whatever it is called.

use std::fs::{self, Metadata};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Where the kernel describes its devices.
pub(super) const SYS: &str = "/sys";
/// Major number of every V4L2 node (`Documentation/admin-guide/devices.txt`).
const VIDEO4LINUX: u32 = 81;

/// One device node: its number, and the USB function that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// Major and minor number.
    number: (u32, u32),
    /// Folder of the USB interface in sysfs. A camera may have several nodes, all of one interface: UVC has a streaming
    /// node and one for metadata, some have a second stream.
    function: Option<PathBuf>,
}

impl Identity {
    /// Follows links to a node and looks it up in sysfs, which lies at `sys`.
    ///
    /// # Errors
    /// Nothing is there, or it is no character device.
    pub(super) fn of(node: &Path, sys: &Path) -> Result<Self> {
        Self::new(&fs::metadata(node)?, sys)
    }

    fn new(node: &Metadata, sys: &Path) -> Result<Self> {
        if !node.file_type().is_char_device() {
            return Err(Error::new(ErrorKind::InvalidInput, "it is no device node"));
        }
        let number = (libc::major(node.rdev()), libc::minor(node.rdev()));
        let device = sys.join(format!("dev/char/{}:{}/device", number.0, number.1));
        let is_usb = |device: &PathBuf| {
            let bus = device.join("subsystem").canonicalize();
            bus.is_ok_and(|bus| bus.file_name().is_some_and(|name| name == "usb"))
        };
        Ok(Self {
            number,
            function: device.canonicalize().ok().filter(is_usb),
        })
    }

    /// Whether the node is one of V4L2. No other may be opened: opening alone starts a watchdog or rewinds a tape.
    pub(super) fn is_video(&self) -> bool {
        self.number.0 == VIDEO4LINUX
    }

    /// Whether both show what one camera sees: one node, or two nodes of one USB function. Nodes of other buses are told
    /// apart by their number alone, because the inputs of one capture card or one image processor may be a camera and a
    /// computer.
    pub(super) fn is_same_camera(&self, other: &Self) -> bool {
        self.number == other.number || (self.function.is_some() && self.function == other.function)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder of the test, removed at its end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("huddled-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn link(&self, name: &str, target: &str) -> PathBuf {
            let path = self.0.join(name);
            symlink(target, &path).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    /// A sysfs in which `/dev/null` (1:3) and `/dev/zero` (1:5) belong to the interfaces of a bus.
    fn sysfs(folder: &Folder, bus: &str, interfaces: [&str; 2]) -> PathBuf {
        let sys = folder.0.join("sys");
        fs::create_dir_all(sys.join("bus").join(bus)).unwrap();
        for (number, interface) in ["1:3", "1:5"].iter().zip(interfaces) {
            let device = sys.join("devices").join(interface);
            fs::create_dir_all(&device).unwrap();
            let subsystem = device.join("subsystem");
            if !subsystem.exists() {
                symlink(sys.join("bus").join(bus), subsystem).unwrap();
            }
            let node = sys.join("dev/char").join(number);
            fs::create_dir_all(&node).unwrap();
            symlink(&device, node.join("device")).unwrap();
        }
        sys
    }

    #[test]
    fn links_to_one_node_are_one_camera_and_other_nodes_are_not() {
        let folder = Folder::new("identity-links");
        let by_id = folder.link("by-id", "/dev/null");
        let by_path = folder.link("by-path", by_id.to_str().unwrap());
        let other = folder.link("other", "/dev/zero");
        let of = |path: &Path| Identity::of(path, &folder.0).unwrap();
        assert!(of(&by_id).is_same_camera(&of(Path::new("/dev/null"))));
        assert!(of(&by_path).is_same_camera(&of(&by_id)));
        assert!(!of(&other).is_same_camera(&of(&by_id)));
        assert!(!of(&by_id).is_video());
        assert!(Identity::of(&folder.0, &folder.0).is_err(), "a folder");
        assert!(Identity::of(&folder.0.join("absent"), &folder.0).is_err());
    }

    #[test]
    fn an_open_device_is_what_its_name_led_to() {
        use std::os::fd::AsRawFd;
        let file = fs::File::open("/dev/null").unwrap();
        let opened = format!("/proc/self/fd/{}", file.as_raw_fd());
        let of = |path: &str| Identity::of(Path::new(path), Path::new(SYS)).unwrap();
        assert_eq!(of(&opened), of("/dev/null"));
        assert_ne!(of(&opened), of("/dev/zero"));
    }

    #[test]
    fn two_nodes_of_one_usb_function_are_one_camera() {
        for (bus, interfaces, expected) in [
            ("usb", ["usb1/1-1:1.0", "usb1/1-1:1.0"], true),
            // A capture stick beside the camera, or a second function of one device.
            ("usb", ["usb1/1-1:1.0", "usb1/1-2:1.0"], false),
            ("usb", ["usb1/1-1:1.0", "usb1/1-1:1.2"], false),
            ("platform", ["platform/isi", "platform/isi"], false),
        ] {
            let folder = Folder::new(&format!(
                "identity-{bus}-{}",
                interfaces[1].replace('/', "-")
            ));
            let sys = sysfs(&folder, bus, interfaces);
            let null = Identity::of(Path::new("/dev/null"), &sys).unwrap();
            let zero = Identity::of(Path::new("/dev/zero"), &sys).unwrap();
            assert_eq!(null.is_same_camera(&zero), expected, "{bus} {interfaces:?}");
        }
    }
}
