#!/usr/bin/perl
# Keys and switches made from user space: an input device "lab-keys" through uinput. Reads lines "key CODE VALUE" and
# "switch CODE VALUE" from standard input; ends with it.
use strict;
use warnings;
use Fcntl;

my ($EV_SYN, $EV_KEY, $EV_SW) = (0, 1, 5);
# KEY_MICMUTE, KEY_CAMERA_ACCESS_TOGGLE; SW_CAMERA_LENS_COVER, SW_MUTE_DEVICE.
my @keys = (248, 0x24d);
my @switches = (9, 14);

sysopen(my $input, '/dev/uinput', O_WRONLY) or die "/dev/uinput: $!";
# linux/uinput.h: UI_SET_EVBIT, UI_SET_KEYBIT, UI_SET_SWBIT, UI_DEV_CREATE, struct uinput_user_dev.
sub order { my ($request, $value) = @_; defined ioctl($input, $request, 0 + $value) or die "uinput: $!"; }
order(0x40045564, $_) for $EV_KEY, $EV_SW;
order(0x40045565, $_) for @keys;
order(0x4004556d, $_) for @switches;
my $device = pack('a80 S4 L l256', 'lab-keys', 6, 1, 1, 1, 0, (0) x 256);
syswrite($input, $device) == length $device or die "uinput: $!";
order(0x5501, 0);

$| = 1;
print "ready\n";
while (<STDIN>) {
  my ($what, $code, $value) = split;
  my $type = $what eq 'switch' ? $EV_SW : $EV_KEY;
  syswrite($input, pack('q q S S l', 0, 0, $type, $code, $value) . pack('q q S S l', 0, 0, $EV_SYN, 0, 0));
}
