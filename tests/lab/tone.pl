#!/usr/bin/perl
# A tone without an end, as raw samples: 48 kHz, S16, one channel. HERTZ is a whole number, so that a second ends where it begins.
use strict;
use warnings;

my $hertz = shift;
my $second = pack 's*', map { 13_000 * sin(6.28318530717958648 * $hertz * $_ / 48_000) } 0 .. 47_999;
1 while print $second;
