SUMMARY = "Daemon of a meeting-room box"
DESCRIPTION = "Puts a meeting room with camera, microphone, speaker, buttons and lights into peer-to-peer WebRTC mesh \
meetings signalled over Socket.IO, and keeps it there unattended."
SECTION = "multimedia"

# The program's own licence, and those of the crates and the codecs' sources that are linked into it: what deny.toml allows.
LICENSE = "(MIT | Apache-2.0) & BSD-2-Clause & BSD-3-Clause & ISC & Unicode-3.0 & Zlib"
LIC_FILES_CHKSUM = "\
    file://LICENSE-MIT;md5=c072f9d5decedc0c0ac4134deef1cecc \
    file://LICENSE-APACHE;md5=22a53954e4e0ec258dfce4391e905dac \
"

# alsa-sys and openssl-sys find their libraries with pkg-config; libopus is built by cmake from the crate's own source;
# v4l2-sys-mit runs bindgen, which loads libclang; OpenH264's assembler for x86 is nasm's (for ARM the C compiler's).
DEPENDS = "alsa-lib clang-native cmake-native openssl pkgconfig-native"
DEPENDS:append:x86-64 = " nasm-native"

inherit cargo externalsrc pkgconfig systemd useradd features_check

REQUIRED_DISTRO_FEATURES = "systemd"

# The crates, made from Cargo.lock by one command (README.md of the layer) and not committed.
include huddled-crates.inc
python () {
    if not d.getVar("HUDDLED_CRATES"):
        raise bb.parse.SkipRecipe("the list of crates is missing; make it with %s/scripts/crates.py (see README.md there)"
            % os.path.realpath(os.path.join(d.getVar("THISDIR"), "../..")))
}

# The source tree that this layer is a part of.
HUDDLED_SOURCE ?= "${@os.path.realpath('${THISDIR}/../../../..')}"
EXTERNALSRC = "${HUDDLED_SOURCE}"

# The Cargo features: see Cargo.toml.
PACKAGECONFIG ??= "hub openh264-source"
PACKAGECONFIG[hub] = "--features hub"
PACKAGECONFIG[openh264-source] = "--features openh264-source,,,,,openh264-libloading"
PACKAGECONFIG[openh264-libloading] = "--features openh264-libloading,,,,,openh264-source"
CARGO_BUILD_FLAGS += "--no-default-features --bins"

export LIBCLANG_PATH = "${STAGING_LIBDIR_NATIVE}"
export BINDGEN_EXTRA_CLANG_ARGS = "--target=${TARGET_SYS} --sysroot=${STAGING_DIR_TARGET}"

USERADD_PACKAGES = "${PN}"
GROUPADD_PARAM:${PN} = "--system gpio"
USERADD_PARAM:${PN} = "--system --user-group --no-create-home --home-dir ${localstatedir}/lib/huddled \
    --shell ${base_sbindir}/nologin --groups audio,video,input,gpio huddled; \
    --system --user-group --no-create-home --home-dir ${localstatedir}/lib/huddled-hub \
    --shell ${base_sbindir}/nologin huddled-hub"

SYSTEMD_PACKAGES = "${PN} ${PN}-hub"
SYSTEMD_SERVICE:${PN} = "huddled.service huddled-failed.service huddled-wanted.target"
SYSTEMD_SERVICE:${PN}-hub = "huddled-hub.service"
SYSTEMD_AUTO_ENABLE:${PN}-hub = "disable"

do_install() {
    # Manual pages and completions are made by the program itself, which is not built for this machine.
    without=made
    # Assembled by `make guest`, from the npm registry.
    if [ ! -d ${S}/target/guest ]; then
        without="$without guest"
        if ${@bb.utils.contains('PACKAGECONFIG', 'hub', 'true', 'false', d)}; then
            bbwarn "the guest page is not installed: run make guest in ${S} first"
        fi
    fi
    DESTDIR=${D} PREFIX=${prefix} UNITDIR=${systemd_system_unitdir} UDEVDIR=${nonarch_base_libdir}/udev/rules.d \
        BUILT=${B}/target/${CARGO_TARGET_SUBDIR} WITHOUT="$without" ${S}/scripts/install.sh install
    # The units list the libraries of Debian and Fedora; here they lie in other folders.
    for unit in huddled huddled-failed huddled-hub; do
        install -d ${D}${systemd_system_unitdir}/$unit.service.d
        printf '[Service]\nExecPaths=-${libdir} -${base_libdir}\n' > ${D}${systemd_system_unitdir}/$unit.service.d/libraries.conf
    done
    # Where the state partition is mounted.
    install -d -m 0700 ${D}${localstatedir}/lib/huddled
    chown huddled:huddled ${D}${localstatedir}/lib/huddled
}

PACKAGES =+ "${PN}-hub"
FILES:${PN}-hub += "${systemd_system_unitdir}/huddled-hub.service ${systemd_system_unitdir}/huddled-hub.service.d \
    ${datadir}/huddled/guest"
FILES:${PN} += "${systemd_system_unitdir} ${nonarch_base_libdir}/udev ${nonarch_libdir}/sysusers.d ${nonarch_libdir}/tmpfiles.d \
    ${sysconfdir}/huddled ${localstatedir}/lib/huddled"
RDEPENDS:${PN}-hub = "${PN}"
RRECOMMENDS:${PN} = "ca-certificates kernel-module-uvcvideo kernel-module-snd-usb-audio"
