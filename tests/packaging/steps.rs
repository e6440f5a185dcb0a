//! `scripts/steps.sh`: what becomes of a step that not every machine can run.

use std::process::Command;

use super::{said, tree};

/// What `where_possible` returns and says of a command that ends with these codes, one after the other.
fn outcome(codes: &str) -> (i32, String) {
    let script = "set -eu; . scripts/steps.sh; trap - EXIT; codes=($1)
        command() { local code=${codes[0]}; codes=(\"${codes[@]:1}\"); return \"$code\"; }
        where_possible 'the lab' command";
    let output = Command::new("bash")
        .current_dir(tree())
        .args(["-c", script, "steps", codes])
        .output()
        .unwrap();
    (output.status.code().unwrap(), said(&output))
}

#[test]
fn what_this_machine_cannot_is_no_failure_and_what_fails_may_do_so_once() {
    for (codes, verdict, repeats) in [
        ("0", 0, 0),
        ("69", 0, 0),
        ("1 0", 0, 1),
        ("1 3", 3, 1),
        ("1 69", 1, 1),
    ] {
        let (code, said) = outcome(codes);
        assert_eq!(code, verdict, "{codes}: {said}");
        let repeated = "REPEAT: the lab failed (exit 1)";
        assert_eq!(said.matches(repeated).count(), repeats, "{codes}: {said}");
    }
}
