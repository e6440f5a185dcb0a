//! Cameras, sound, buttons and lights, and what is made of their pictures and sound.

use super::forms::{MICROPHONE_DEVICE, PLAIN, SPEAKER_DEVICE, VIDEO_DEVICE};
use super::{Key, Kind, even, key, table, values, whole};

const PPM: Key = key(
    "ppm",
    whole(-10_000, 10_000),
    "0",
    "Lets the clock of a simulated device drift, in parts per million.",
);

pub(super) const VIDEO_SOURCE: &[Key] = &[
    key(
        "device",
        Kind::Text(&VIDEO_DEVICE),
        "\"/dev/v4l/by-id/usb-Example_Camera-video-index0\"",
        "The device. Simulated ones need `huddled run --allow-sim`.",
    ),
    PPM,
];

const LINE: &[Key] = &[
    key(
        "chip",
        Kind::Text(&PLAIN),
        "\"gpiochip0\"",
        "Name or label of the GPIO chip, needed by backend `chardev`; for a button of `kernel` the name of the input \
         device, where several have such a key.",
    ),
    key(
        "line",
        Kind::TextOrNumber,
        "17",
        "Number or name of the line: BCM number (0 to 53) for `rppal`; for `kernel` a key such as `KEY_MICMUTE`, the switch \
         `SW_MUTE_DEVICE` or the name of an LED in /sys/class/leds. Needed.",
    ),
    key(
        "active_low",
        Kind::Boolean,
        "true",
        "Pressed pulls the line low; for a light: low is lit. Of `kernel`, where the device tree knows the wiring, it turns \
         the meaning around.",
    ),
    key(
        "bias",
        Kind::Word(|| values::names(values::BIAS)),
        "\"pull-up\"",
        "The line's resistor.",
    ),
];

pub(super) static SCREEN: &[Key] = &[
    key(
        "device",
        Kind::Text(&VIDEO_DEVICE),
        "\"/dev/v4l/by-id/usb-Example_Capture-video-index0\"",
        "The device. Simulated ones need `huddled run --allow-sim`.",
    ),
    key(
        "bitrate",
        whole(50_000, 4_000_000),
        "1_000_000",
        "Bits per second, beside those of the camera. It is sent as 1280x720 at 15 pictures per second.",
    ),
    key(
        "on_signal",
        Kind::Boolean,
        "false",
        "Share as soon as the device delivers a picture (a cable was plugged in), and end when it does not. \
         The device is looked at every two seconds.",
    ),
    PPM,
];

pub(super) static MICROPHONE: &[Key] = &[
    key(
        "device",
        Kind::Text(&MICROPHONE_DEVICE),
        "\"hw:CARD=Device\"",
        "The device. Without one the box sends silence. Simulated ones need `huddled run --allow-sim`.",
    ),
    PPM,
];

pub(super) static SPEAKER: &[Key] = &[
    key(
        "device",
        Kind::Text(&SPEAKER_DEVICE),
        "\"hw:CARD=Device\"",
        "The device. Without one what is said in the meeting is not heard. Simulated ones need \
         `huddled run --allow-sim`.",
    ),
    PPM,
];

pub(super) static DISPLAY: &[Key] = &[key(
    "device",
    Kind::Word(|| values::names(values::DISPLAY)),
    "\"none\"",
    "The device.",
)];

pub(super) static VIDEO: &[Key] = &[
    key("width", even(160, 1920), "1280", "Pixels, an even number."),
    key("height", even(90, 1080), "720", "Pixels, an even number."),
    key("frame_rate", whole(1, 60), "30", "Pictures per second."),
    key(
        "bitrate",
        whole(50_000, 20_000_000),
        "1_500_000",
        "Bits per second.",
    ),
];

pub(super) static AUDIO: &[Key] = &[key(
    "bitrate",
    whole(6_000, 128_000),
    "32_000",
    "Bits per second.",
)];

pub(super) static PANEL: &[Key] = &[
    key(
        "backend",
        Kind::Word(|| values::names(values::PANEL)),
        "\"chardev\"",
        "`rppal` (Raspberry Pi pins), `chardev` (GPIO lines of any board), `kernel` (keys and LEDs that the \
         device tree describes), `sim:virtual` or `none`.",
    ),
    table(
        "buttons",
        &[
            table("mic", LINE, "The microphone's button."),
            table("camera", LINE, "The camera's button."),
            table("share", LINE, "The screen share's button."),
        ],
        "The buttons that exist.",
    ),
    table(
        "leds",
        &[
            table("mic", LINE, "The microphone's light."),
            table("camera", LINE, "The camera's light."),
            table("status", LINE, "The light of the box's state."),
        ],
        "The lights that exist.",
    ),
];
