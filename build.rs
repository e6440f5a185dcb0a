//! Says what would otherwise go unnoticed: a slow H.264 encoder, and the mutation of the mute test.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    warn_without_assembler();
    mutate();
}

/// OpenH264 built from source leaves its assembler out without a word where `nasm` is missing.
fn warn_without_assembler() {
    let x86_64 = env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64");
    if x86_64 && !in_path("nasm") {
        println!(
            "cargo:warning=nasm is not in PATH: OpenH264 is built without its assembler and encodes about 2.5 times slower; install the package nasm and rebuild (cargo clean -p openh264-sys2)"
        );
    }
}

fn in_path(program: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| {
        env::split_paths(&path).any(|folder| Path::new(&folder).join(program).is_file())
    })
}

/// HUDDLED_MUTATION=mute_gate_removed builds a program without the mute gate, for the one test that proves
/// that the mute test can fail.
fn mutate() {
    println!("cargo:rerun-if-env-changed=HUDDLED_MUTATION");
    match env::var("HUDDLED_MUTATION").as_deref() {
        Err(_) | Ok("") => {}
        Ok("mute_gate_removed") => {
            assert!(
                env::var("PROFILE").is_ok_and(|profile| profile == "debug"),
                "HUDDLED_MUTATION is for the mute test's debug build; unset it to build a release"
            );
            println!("cargo:rustc-cfg=mute_gate_removed");
            println!(
                "cargo:warning=HUDDLED_MUTATION=mute_gate_removed: this build sends sound while muted; it is for the mute test alone"
            );
        }
        Ok(other) => {
            println!("cargo:warning=HUDDLED_MUTATION={other} is unknown and does nothing");
        }
    }
}
