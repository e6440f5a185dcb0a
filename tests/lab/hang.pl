#!/usr/bin/perl
# hang.pl TID: stops one thread of a process, and that one alone, until the process is gone (ptrace(2), x86-64).
use strict;
use warnings;

my ($tid) = map { 0 + $_ } @ARGV;
my ($SYS_ptrace, $PTRACE_SEIZE, $PTRACE_INTERRUPT, $WALL) = (101, 0x4206, 0x4207, 0x40000000);
syscall($SYS_ptrace, $PTRACE_SEIZE, $tid, 0, 0) == 0 or die "seize: $!";
syscall($SYS_ptrace, $PTRACE_INTERRUPT, $tid, 0, 0) == 0 or die "interrupt: $!";
$| = 1;
# Waits for its stop, then for its end, without which the process would never be gone.
while (waitpid($tid, $WALL) > 0) {
  print "stopped or gone\n";
}
