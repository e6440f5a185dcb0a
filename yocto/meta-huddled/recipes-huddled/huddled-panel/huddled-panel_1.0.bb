SUMMARY = "Device-tree overlay of the panel's buttons and lights on a Raspberry Pi"
DESCRIPTION = "Gives the panel's pins to the drivers gpio-keys and leds-gpio of the kernel, for backend kernel of the daemon."
SECTION = "bsp"
LICENSE = "MIT | Apache-2.0"
LIC_FILES_CHKSUM = "file://huddled-panel-overlay.dts;beginline=1;endline=1;md5=55ecc515da66af0919eadb7a07d9bc4f"

DEPENDS = "dtc-native"

SRC_URI = "file://huddled-panel-overlay.dts"
S = "${UNPACKDIR}"

INHIBIT_DEFAULT_DEPS = "1"

inherit deploy

COMPATIBLE_MACHINE = "^rpi$"
PACKAGE_ARCH = "${MACHINE_ARCH}"

do_configure[noexec] = "1"

do_compile() {
    dtc -@ -I dts -O dtb -o ${B}/huddled-panel.dtbo ${S}/huddled-panel-overlay.dts
}

do_install[noexec] = "1"

# The boot partition takes it from there (conf/huddled/raspberrypi.inc).
do_deploy() {
    install -D -m 0644 ${B}/huddled-panel.dtbo ${DEPLOYDIR}/huddled-panel.dtbo
}
addtask deploy after do_compile before do_build

# There is nothing for the root file system.
PACKAGES = ""
