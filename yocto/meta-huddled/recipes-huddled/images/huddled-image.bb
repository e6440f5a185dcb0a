SUMMARY = "Image of a meeting-room box, with a read-only root"
DESCRIPTION = "The daemon of a meeting-room box on a root file system that nothing writes to, with kernel modules for its devices."
SECTION = "images"
LICENSE = "MIT"

IMAGE_FEATURES += "read-only-rootfs"
IMAGE_INSTALL = "packagegroup-core-boot huddled kernel-modules"

inherit core-image features_check

REQUIRED_DISTRO_FEATURES = "systemd"
IMAGE_ROOTFS_EXTRA_SPACE = "0"
