//! Several domains on one serial line: whose output goes out as it comes, how the others' is marked, and who is typed to.

use super::world::{ARG, LIST, World};
use crate::addr::DomainId;
use crate::cmdline::Options;
use crate::console::Receiver;
use crate::domain::Shutdown;
use core::mem::offset_of;
use paravane_abi::console::XenconsInterface;
use paravane_abi::hypercall::HYPERVISOR_CONSOLE_IO;
use std::string::String;
use std::vec::Vec;

const SWITCH: &[u8] = b"\x01\x01\x01";

/// Two domains that have set themselves up, and what the command line says.
fn two(options: &str) -> World {
    let mut world = World::with_domains(2);
    for index in [1, 0] {
        world.act_as(index);
        world.set_up();
    }
    world.hv.terminal.loglvl = Options::parse(options).guest_loglvl;
    world
}

fn printed(world: &mut World) -> String {
    String::from_utf8(core::mem::take(&mut world.hv.machine.told.output)).unwrap()
}

/// A domain writes by hypercall; what is printed then.
fn write(world: &mut World, index: usize, text: &str) -> String {
    world.act_as(index);
    world.put(LIST, text.as_bytes());
    assert_eq!(world.call(HYPERVISOR_CONSOLE_IO, &[0, text.len() as u64, LIST]), 0);
    printed(world)
}

/// The address of the running domain's console ring.
fn ring(world: &World) -> u64 {
    let frame = world.domain().console.frame;
    let base = super::world::TOP - 0x40_0000;
    (0..1024).map(|pfn| base + (pfn << 12)).find(|va| world.mfn(*va) == frame).unwrap()
}

/// A domain writes into its ring; what is printed then.
fn queue(world: &mut World, index: usize, text: &str) -> String {
    world.act_as(index);
    let page = ring(world);
    let prod: u32 = world.get(page + offset_of!(XenconsInterface, out_prod) as u64);
    for (n, byte) in text.bytes().enumerate() {
        let at = (prod as usize + n) % 2048;
        world.put(page + (offset_of!(XenconsInterface, output) + at) as u64, &byte);
    }
    world.put(page + offset_of!(XenconsInterface, out_prod) as u64, &(prod + text.len() as u32));
    world.hv.serve_console(index);
    printed(world)
}

/// What a domain was typed so far.
fn typed_to(world: &mut World, index: usize) -> Vec<u8> {
    world.act_as(index);
    let page = ring(world);
    let prod: u32 = world.get(page + offset_of!(XenconsInterface, in_prod) as u64);
    (0..u64::from(prod))
        .map(|n| world.get::<u8>(page + offset_of!(XenconsInterface, input) as u64 + n))
        .collect()
}

fn press(world: &mut World, keys: &[u8]) {
    world.hv.machine.input.extend(keys);
    world.hv.console_interrupt();
}

fn receiver(world: &World) -> Receiver {
    world.hv.terminal.focus.receiver
}

#[test]
fn only_the_domain_with_the_console_prints_as_it_likes() {
    let mut world = two("guest_loglvl=all");
    assert_eq!(receiver(&world), Receiver::Domain(DomainId(1)));
    assert_eq!(queue(&mut world, 0, "\x1b[1mpro"), "\x1b[1mpro");
    assert_eq!(queue(&mut world, 1, "se"), "");
    assert_eq!(queue(&mut world, 1, "cond\r\nthi"), "(d2) second\r\n");
    assert_eq!(queue(&mut world, 0, "mpt\r\n"), "mpt\r\n");
    // The hypercall and the ring are the same console.
    assert_eq!(write(&mut world, 1, "rd\n\nfourth\n\x1b[2J"), "(d2) third\r\n(d2) fourth\r\n");
    assert_eq!(write(&mut world, 0, "first\n"), "first\n");
    // Several steps of a long text make lines of their full length.
    let long = "x".repeat(1000);
    let lines = write(&mut world, 1, &long);
    assert!(lines.lines().count() == 3 && lines.lines().all(|line| line.len() == 5 + 256), "{lines}");
}

#[test]
fn the_level_of_guests_decides_about_the_hypercall_alone() {
    for (options, seen) in [
        ("guest_loglvl=none", 0),
        ("", 0),
        ("guest_loglvl=info/info", 0),
        ("guest_loglvl=warning/all", 10),
        ("guest_loglvl=debug", 30),
        ("guest_loglvl=all", 30),
    ] {
        let mut world = two(options);
        let lines = write(&mut world, 1, &"line\n".repeat(30));
        assert_eq!(lines.matches("(d2) line\r\n").count(), seen, "{options}");
        assert_eq!(queue(&mut world, 1, "ring\n"), "(d2) ring\r\n", "{options}");
        assert_eq!(write(&mut world, 0, "word"), "word", "{options}");
    }
}

#[test]
fn the_end_of_a_domain_brings_out_its_last_words() {
    let mut world = two("");
    assert_eq!(queue(&mut world, 1, "I was about to"), "");
    world.hv.stop_domain(1, Shutdown::Crash);
    assert_eq!(printed(&mut world), "(d2) I was about to\r\n");
    world.hv.stop_domain(1, Shutdown::Crash);
    assert_eq!(printed(&mut world), "");
}

#[test]
fn three_times_control_a_hands_the_input_on() {
    let mut world = two("");
    press(&mut world, b"one\x01\x01");
    assert_eq!(typed_to(&mut world, 0), b"one");
    // The prompt that the second has begun is shown when it gets the console.
    queue(&mut world, 1, "/ $ ");
    press(&mut world, b"x\x01\x01\x01two");
    assert_eq!(receiver(&world), Receiver::Domain(DomainId(2)));
    assert_eq!(printed(&mut world), "\r\n/ $ ");
    assert_eq!(typed_to(&mut world, 0), b"one\x01\x01x");
    assert_eq!(typed_to(&mut world, 1), b"two");
    assert_eq!(queue(&mut world, 0, "now I am marked\n"), "(d1) now I am marked\r\n");
    assert_eq!(queue(&mut world, 1, "and I"), "and I");
    // Then the hypervisor, to which nothing typed is kept, and round again.
    press(&mut world, SWITCH);
    assert_eq!(receiver(&world), Receiver::Hypervisor);
    press(&mut world, b"hq?");
    assert!(world.hv.typed.is_empty());
    press(&mut world, SWITCH);
    assert_eq!(receiver(&world), Receiver::Domain(DomainId(1)));
    press(&mut world, b"!");
    assert_eq!(typed_to(&mut world, 0), b"one\x01\x01x!");
    assert_eq!(typed_to(&mut world, 1), b"two");
}

#[test]
fn a_domain_without_the_console_takes_nothing_that_was_typed() {
    let mut world = two("");
    world.act_as(0);
    let page = ring(&world);
    // The first has no room.
    world.put(page + offset_of!(XenconsInterface, in_prod) as u64, &1024u32);
    press(&mut world, b"secret");
    assert_eq!(queue(&mut world, 1, "hello\n"), "(d2) hello\r\n");
    assert_eq!(typed_to(&mut world, 1), b"");
    assert_eq!(world.hv.typed.len(), 6);
    assert_ne!(page, ARG);
}

#[test]
fn the_console_waits_for_a_domain_that_is_built_again_and_leaves_one_that_is_not() {
    let mut world = two("");
    let focus = |world: &mut World, again| {
        world.hv.take_input_from(DomainId(1), again);
        receiver(world)
    };
    assert_eq!(focus(&mut world, true), Receiver::Next);
    assert_eq!(queue(&mut world, 1, "not mine\n"), "(d2) not mine\r\n");
    world.hv.offer_input(DomainId(1));
    assert_eq!(receiver(&world), Receiver::Domain(DomainId(1)));
    world.hv.offer_input(DomainId(2));
    assert_eq!(receiver(&world), Receiver::Domain(DomainId(1)), "who has it keeps it");
    world.hv.domains.remove(0);
    assert_eq!(focus(&mut world, false), Receiver::Domain(DomainId(2)));
    world.hv.domains.clear();
    world.hv.take_input_from(DomainId(2), false);
    assert_eq!(receiver(&world), Receiver::Next);
}
