//! Two to eight members over a fake server: whatever happened, everybody ends stable and connected.

use huddled::room::*;

use super::world::{Manner, World};

const SEEDS: u64 = 20;

/// Whole now, and still whole half a minute later without a single new connection.
#[track_caller]
fn whole_and_stable(world: &mut World, among: &[usize], limit_ms: u64) -> u64 {
    let took = world.run_until_whole(among, limit_ms);
    world.run(3_000);
    world.run_until_whole(among, limit_ms);
    let ends: Vec<usize> = among.iter().map(|index| world.open_ends(*index)).collect();
    world.run(30_000);
    assert_eq!(world.missing(among), [], "stays whole");
    let later: Vec<usize> = among.iter().map(|index| world.open_ends(*index)).collect();
    assert_eq!(ends, later, "nobody builds anew in a healthy meeting");
    took
}

fn boxes(world: &mut World, count: usize) -> Vec<usize> {
    (0..count)
        .map(|number| world.add_box(&format!("box-{number}")))
        .collect()
}

#[test]
fn two_to_eight_boxes_starting_together_become_a_mesh() {
    let mut slowest = 0;
    for seed in 0..SEEDS {
        for count in 2..=8 {
            let mut world = World::new(seed);
            let all = boxes(&mut world, count);
            slowest = slowest.max(whole_and_stable(&mut world, &all, 10_000));
            for index in all {
                assert_eq!(world.open_ends(index), count - 1, "one connection each");
            }
        }
    }
    println!("slowest mesh: {slowest} ms");
}

#[test]
fn all_boxes_share_at_the_same_moment_and_end_at_another() {
    for seed in 0..SEEDS {
        for count in 2..=5 {
            let mut world = World::new(seed);
            let all = boxes(&mut world, count);
            world.run_until_whole(&all, 10_000);
            for round in 0..4 {
                for &index in &all {
                    world.press(index, Button::Share);
                    let pause = world.dice.roll(4) * world.dice.roll(40);
                    world.run(pause);
                }
                // A collision of offers costs a second at most.
                world.run(3_000);
                for &index in &all {
                    assert_eq!(world.room(index).snapshot().sharing, round % 2 == 0);
                    assert_eq!(world.miscarried(index), 0, "seed {seed}, {count} boxes");
                }
                assert_eq!(world.missing(&all), []);
            }
        }
    }
}

#[test]
fn boxes_joining_one_by_one_with_duplicate_relays_become_a_mesh() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        world.duplicates = true;
        let mut all = Vec::new();
        for number in 0..5 {
            all.push(world.add_box(&format!("box-{}", (number * 7) % 5)));
            let pause = world.dice.roll(1_500);
            world.run(pause);
        }
        whole_and_stable(&mut world, &all, 10_000);
    }
}

#[test]
fn a_box_connects_with_every_kind_of_browser_whatever_the_ids_and_the_order() {
    let mut slowest = 0;
    for manner in [Manner::V1, Manner::V2, Manner::V2Late] {
        for id in ["a-browser", "z-browser"] {
            for box_first in [false, true] {
                for camera in [0, 30, 200, 800, 3_000] {
                    for duplicates in [false, true] {
                        for pause in [0, 20, 45, 100, 2_000] {
                            let mut world = World::new(camera + pause);
                            world.duplicates = duplicates;
                            let (first, second);
                            if box_first {
                                first = world.add_box("m-box");
                                world.run(pause);
                                second = world.add_browser(id, manner, camera);
                            } else {
                                first = world.add_browser(id, manner, camera);
                                world.run(pause);
                                second = world.add_box("m-box");
                            }
                            let took = world.run_until_whole(&[first, second], 15_000);
                            let wait = took.saturating_sub(camera);
                            if wait > slowest {
                                slowest = wait;
                                println!(
                                    "{wait} ms after the camera: {manner:?} {id} box_first={box_first} camera={camera} duplicates={duplicates} pause={pause}"
                                );
                            }
                            whole_and_stable(&mut world, &[first, second], 15_000);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn boxes_and_browsers_of_both_kinds_share_a_meeting() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        let mut all = boxes(&mut world, 2);
        all.push(world.add_browser("a-v2", Manner::V2, 300));
        all.push(world.add_browser("z-v2", Manner::V2, 500));
        all.push(world.add_browser("c-v1", Manner::V1, 100));
        world.run(4_000);
        all.push(world.add_box("m-late"));
        whole_and_stable(&mut world, &all, 15_000);
    }
}

#[test]
fn a_reloaded_page_is_connected_again() {
    let mut slowest = 0;
    for manner in [Manner::V1, Manner::V2, Manner::V2Late] {
        for id in ["a-browser", "z-browser"] {
            for camera in [50, 400, 2_000, 7_000] {
                let mut world = World::new(camera);
                let all = [
                    world.add_box("m-box"),
                    world.add_browser(id, manner, 100),
                    world.add_box("n-box"),
                ];
                whole_and_stable(&mut world, &all, 15_000);
                world.reload_page(1, camera);
                world.run(camera);
                slowest = slowest.max(world.run_until_whole(&all, 15_000));
                whole_and_stable(&mut world, &all, 15_000);
            }
        }
    }
    println!("slowest after a reload: {slowest} ms");
}

#[test]
fn a_server_restart_costs_boxes_no_media_at_all() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        let all = boxes(&mut world, 4);
        whole_and_stable(&mut world, &all, 10_000);
        let before: Vec<usize> = all.iter().map(|index| world.open_ends(*index)).collect();
        world.server_up = false;
        world.restart_server();
        for _ in 0..200 {
            world.run(100);
            assert_eq!(world.missing(&all), [], "media goes on without the server");
        }
        world.server_up = true;
        world.run(60_000);
        assert_eq!(world.missing(&all), []);
        let after: Vec<usize> = all.iter().map(|index| world.open_ends(*index)).collect();
        assert_eq!(before, after);
        for index in all {
            assert_eq!(
                world.room(index).snapshot().signaling,
                SignalingState::Joined
            );
        }
    }
}

#[test]
fn a_box_that_lost_the_server_is_back_with_browsers_too() {
    let mut slowest = 0;
    for manner in [Manner::V1, Manner::V2, Manner::V2Late] {
        for id in ["a-browser", "z-browser"] {
            for seed in 0..SEEDS {
                let mut world = World::new(seed);
                let all = [world.add_box("m-box"), world.add_browser(id, manner, 100)];
                whole_and_stable(&mut world, &all, 15_000);
                world.lose_server(0);
                world.run(300);
                slowest = slowest.max(world.run_until_whole(&all, 15_000));
                whole_and_stable(&mut world, &all, 15_000);
            }
        }
    }
    println!("slowest after losing the server: {slowest} ms");
}

#[test]
fn a_silent_server_is_left_and_found_again() {
    let mut world = World::new(3);
    let all = boxes(&mut world, 3);
    whole_and_stable(&mut world, &all, 10_000);
    world.server_silent = true;
    world.run(40_000);
    assert_eq!(world.missing(&all), [], "media goes on");
    for index in &all {
        assert_ne!(
            world.room(*index).snapshot().signaling,
            SignalingState::Joined
        );
    }
    world.server_silent = false;
    world.run(60_000);
    for index in &all {
        assert_eq!(
            world.room(*index).snapshot().signaling,
            SignalingState::Joined
        );
    }
    whole_and_stable(&mut world, &all, 10_000);
}

#[test]
fn a_lost_path_is_waited_for_and_then_rebuilt() {
    for outage in [1_000, 5_000, 9_000, 30_000, 120_000] {
        for seed in 0..SEEDS {
            let mut world = World::new(seed);
            let all = boxes(&mut world, 3);
            whole_and_stable(&mut world, &all, 10_000);
            world.set_path(0, 1, false);
            world.run(outage);
            assert_eq!(world.missing(&[0, 2]), [], "others are untouched");
            world.set_path(0, 1, true);
            whole_and_stable(&mut world, &all, 60_000);
        }
    }
}

#[test]
fn a_box_that_is_killed_and_started_again_is_back() {
    let mut slowest = 0;
    for seed in 0..SEEDS {
        for victim in 0..3 {
            let mut world = World::new(seed);
            let all = boxes(&mut world, 3);
            whole_and_stable(&mut world, &all, 10_000);
            world.reboot_box(victim);
            slowest = slowest.max(world.run_until_whole(&all, 15_000));
            whole_and_stable(&mut world, &all, 15_000);
        }
    }
    println!("slowest after a kill: {slowest} ms");
}

#[test]
fn a_ghost_of_a_box_takes_it_offline_and_it_comes_back() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        let mut all = boxes(&mut world, 3);
        all.push(world.add_browser("a-v2", Manner::V2, 100));
        whole_and_stable(&mut world, &all, 15_000);
        world.own_ghost(1);
        world.run(2_000);
        assert_eq!(
            world.missing(&[0, 1, 2]),
            [],
            "boxes keep their connections"
        );
        whole_and_stable(&mut world, &all, 15_000);
    }
}

#[test]
fn leaving_and_rejoining_leaves_no_connection_behind() {
    let mut world = World::new(9);
    let all = boxes(&mut world, 3);
    whole_and_stable(&mut world, &all, 10_000);
    for _ in 0..10 {
        for command in [Command::Leave, Command::Join] {
            world.fact(
                1,
                Event::CommandReceived {
                    request: RequestId(1),
                    command,
                    source: Source::Control("uid 0, pid 1".into()),
                },
            );
            if command == Command::Leave {
                assert_eq!(world.open_ends(1), 0);
            }
            let pause = world.dice.roll(9_000);
            world.run(pause);
        }
    }
    whole_and_stable(&mut world, &all, 20_000);
    for index in all {
        assert_eq!(world.open_ends(index), 2);
    }
}

#[test]
fn a_kicked_box_stays_away_and_the_others_forget_it() {
    let mut world = World::new(4);
    let all = boxes(&mut world, 3);
    whole_and_stable(&mut world, &all, 10_000);
    let user = PeerId::new("box-1");
    for index in &all {
        let user = user.clone();
        world.inject(*index, ServerMessage::Kicked { user, reason: None });
    }
    world.run(60_000);
    assert_eq!(world.room(1).snapshot().signaling, SignalingState::Left);
    for index in [0, 2] {
        assert_eq!(world.room(index).snapshot().peers.len(), 1);
        assert_eq!(world.open_ends(index), 1);
    }
    assert_eq!(world.open_ends(1), 0);
}

/// One connection each, as long as nobody builds anew.
fn generations(world: &World, all: &[usize]) -> Vec<Vec<Generation>> {
    all.iter().map(|index| world.generations(*index)).collect()
}

#[test]
fn a_cable_out_for_up_to_ten_seconds_costs_no_connection() {
    for outage in [500, 2_000, 5_000, 9_000] {
        for seed in 0..SEEDS {
            let mut world = World::new(seed);
            let all = boxes(&mut world, 3);
            whole_and_stable(&mut world, &all, 10_000);
            let before = generations(&world, &all);
            world.set_link(1, false);
            world.run(outage);
            world.set_link(1, true);
            let took = world.run_until_whole(&all, 3_000);
            assert!(took <= 1_500, "{took} ms after {outage} ms, seed {seed}");
            world.run(15_000);
            assert_eq!(world.missing(&all), []);
            assert_eq!(
                before,
                generations(&world, &all),
                "{outage} ms, seed {seed}"
            );
        }
    }
}

#[test]
fn a_cable_out_for_long_is_back_within_seconds() {
    let mut slowest = 0;
    for outage in [15_000, 30_000, 120_000] {
        for seed in 0..SEEDS {
            let mut world = World::new(seed);
            let all = boxes(&mut world, 3);
            whole_and_stable(&mut world, &all, 10_000);
            world.set_link(1, false);
            world.run(outage);
            world.set_link(1, true);
            slowest = slowest.max(world.run_until_whole(&all, 8_000));
            whole_and_stable(&mut world, &all, 10_000);
        }
    }
    println!("slowest after a long outage of the cable: {slowest} ms");
}

#[test]
fn everybody_loses_the_cable_and_comes_back_one_by_one() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        let all = boxes(&mut world, 4);
        whole_and_stable(&mut world, &all, 10_000);
        for index in &all {
            world.set_link(*index, false);
        }
        world.run(12_000);
        for index in &all {
            world.set_link(*index, true);
            let pause = world.dice.roll(4_000);
            world.run(pause);
        }
        world.run_until_whole(&all, 10_000);
        whole_and_stable(&mut world, &all, 10_000);
    }
}

#[test]
fn media_lost_one_way_is_repaired_by_a_restart_and_else_by_a_new_connection() {
    for hollow in [false, true] {
        for seed in 0..SEEDS {
            let mut world = World::new(seed);
            let all = boxes(&mut world, 3);
            whole_and_stable(&mut world, &all, 10_000);
            let before = generations(&world, &all);
            world.hollow = hollow;
            world.set_deaf(0, 1, true);
            world.run(3_300);
            world.set_deaf(0, 1, false);
            world.run_until_whole(&all, 10_000);
            whole_and_stable(&mut world, &all, 10_000);
            assert_eq!(
                before == generations(&world, &all),
                !hollow,
                "a restart keeps the connection, seed {seed}"
            );
        }
    }
}

#[test]
fn a_browser_that_restarts_ice_is_answered_and_a_hollow_restart_is_found_out() {
    for hollow in [false, true] {
        for manner in [Manner::V1, Manner::V2, Manner::V2Late] {
            for id in ["a-browser", "z-browser"] {
                let mut world = World::new(7);
                let all = [world.add_box("m-box"), world.add_browser(id, manner, 100)];
                whole_and_stable(&mut world, &all, 15_000);
                let before = generations(&world, &all[..1]);
                world.hollow = hollow;
                world.browser_restarts(1);
                world.run(1_000);
                world.hollow = false;
                world.run(7_000);
                whole_and_stable(&mut world, &all, 15_000);
                assert_eq!(before == generations(&world, &all[..1]), !hollow);
            }
        }
    }
}
