// SPDX-License-Identifier: GPL-2.0
// What a board's device tree says of a panel, for the hardware lab's machine, which has none: buttons for gpio-keys and lamps
// for leds-gpio, on the lines of the chip "board", which gpio-sim makes before this is loaded (guest.sh). Buttons, names and
// default states are those of yocto's huddled-panel-overlay.dts. For Debian 12's kernel, 6.1: what is no device tree gives
// gpio-keys its lines by number there, and by software nodes later.

#include <linux/gpio/driver.h>
#include <linux/gpio_keys.h>
#include <linux/input.h>
#include <linux/leds.h>
#include <linux/module.h>
#include <linux/platform_device.h>

#ifndef KEY_CAMERA_ACCESS_TOGGLE // since 6.2
#define KEY_CAMERA_ACCESS_TOGGLE 0x24d
#endif

enum { MIC_BUTTON, CAMERA_BUTTON, MIC_LAMP, CAMERA_LAMP, STATUS_LAMP };

// Lines of the chip until they are made the kernel's numbers.
static struct gpio_keys_button buttons[] = {
	{ .desc = "huddled:mic", .code = KEY_MICMUTE, .type = EV_KEY, .gpio = MIC_BUTTON, .active_low = 1, .debounce_interval = 5 },
	{ .desc = "huddled:camera", .code = KEY_CAMERA_ACCESS_TOGGLE, .type = EV_KEY, .gpio = CAMERA_BUTTON, .active_low = 1,
	  .debounce_interval = 5 },
};
static struct gpio_keys_platform_data keys = { .buttons = buttons, .nbuttons = ARRAY_SIZE(buttons), .name = "huddled-panel" };

static struct gpio_led lamps[] = {
	{ .name = "huddled:red:micmute", .gpio = MIC_LAMP, .default_state = LEDS_GPIO_DEFSTATE_ON },
	{ .name = "huddled:red:camera", .gpio = CAMERA_LAMP, .default_state = LEDS_GPIO_DEFSTATE_ON },
	{ .name = "huddled:white:status", .gpio = STATUS_LAMP, .default_state = LEDS_GPIO_DEFSTATE_OFF },
};
static struct gpio_led_platform_data leds = { .leds = lamps, .num_leds = ARRAY_SIZE(lamps) };

static struct platform_device *keys_device, *leds_device;

static int is_board(struct gpio_chip *chip, void *unused)
{
	return chip->label && !strcmp(chip->label, "board");
}

static int __init board_init(void)
{
	struct gpio_chip *chip = gpiochip_find(NULL, is_board);
	size_t n;

	if (!chip)
		return -ENODEV;
	for (n = 0; n < ARRAY_SIZE(buttons); n++)
		buttons[n].gpio += chip->base;
	for (n = 0; n < ARRAY_SIZE(lamps); n++)
		lamps[n].gpio += chip->base;
	keys_device = platform_device_register_data(NULL, "gpio-keys", PLATFORM_DEVID_NONE, &keys, sizeof(keys));
	if (IS_ERR(keys_device))
		return PTR_ERR(keys_device);
	leds_device = platform_device_register_data(NULL, "leds-gpio", PLATFORM_DEVID_NONE, &leds, sizeof(leds));
	if (IS_ERR(leds_device)) {
		platform_device_unregister(keys_device);
		return PTR_ERR(leds_device);
	}
	return 0;
}

static void __exit board_exit(void)
{
	platform_device_unregister(leds_device);
	platform_device_unregister(keys_device);
}

module_init(board_init);
module_exit(board_exit);
MODULE_DESCRIPTION("a board's panel for the hardware lab");
MODULE_LICENSE("GPL");
