//! A domain that gives memory away and takes it again, over and over. Two of them, on a machine with little memory to
//! spare, hand it to one another.

use alloc::collections::BTreeSet;

use pv_guest_logic::options;
use pv_guest_logic::role::Role;

use super::report;
use crate::boot;
use crate::cpu_ops::machine;
use crate::mm::addr::{PAGE, Pfn};
use crate::mm::{self, balloon, frames};
use crate::time::monotonic_ns;

/// Pages in a MiB.
const PAGES_PER_MIB: u64 = (1 << 20) / PAGE;
/// Tries to get a page while the other domain has it all.
const TRIES: u32 = 5000;

fn words(pfn: Pfn) -> impl Iterator<Item = *mut u64> {
    let start = pfn.bytes().cast::<u64>();
    // The whole page would only take longer: every eighth word, which is every cache line.
    (0..512).step_by(8).map(move |index| start.wrapping_add(index))
}

/// What a page of this round holds.
fn mark(pfn: Pfn, round: u64) -> u64 {
    pfn.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ round << 48 | 1
}

/// What was found.
#[derive(Default)]
struct Tally {
    given: usize,
    /// Frames that this domain never had before.
    fresh: usize,
    waits: u64,
    /// Words of a new page that are not zero: somebody's data.
    leaks: u64,
    /// Words that changed while the page was this domain's.
    lost: u64,
}

/// Takes all pfns back, waiting for memory while there is none. False when none comes.
fn take_all(pfns: &[Pfn], tally: &mut Tally) -> bool {
    let mut taken = 0;
    for _ in 0..TRIES {
        taken += balloon::take(&pfns[taken..]);
        if taken == pfns.len() {
            return true;
        }
        tally.waits += 1;
        machine().set_timer(Some(monotonic_ns() + 10_000_000));
        machine().idle();
    }
    false
}

fn round(round: u64, pages: usize, had: &mut BTreeSet<u64>, tally: &mut Tally) -> bool {
    let given = balloon::give(pages);
    tally.given += given.len();
    // The other domain's turn.
    machine().set_timer(Some(monotonic_ns() + 1_000_000));
    machine().idle();
    if !take_all(&given, tally) {
        return false;
    }
    for &pfn in &given {
        tally.fresh += usize::from(had.insert(pfn.mfn().0));
        for word in words(pfn) {
            // SAFETY: a word of a frame that was just given to this kernel and that nothing else uses.
            unsafe {
                tally.leaks += u64::from(word.read_volatile() != 0);
                word.write_volatile(mark(pfn, round));
            }
        }
    }
    for &pfn in &given {
        for word in words(pfn) {
            // SAFETY: as above.
            tally.lost += u64::from(unsafe { word.read_volatile() } != mark(pfn, round));
        }
        frames::release(pfn);
    }
    given.len() == pages
}

/// `rounds=20` times `mib=8`, which the domain must have free.
pub fn run() {
    let rounds = options::number(boot::cmdline(), "rounds").unwrap_or(20);
    let pages = (options::number(boot::cmdline(), "mib").unwrap_or(8) * PAGES_PER_MIB) as usize;
    let mut had: BTreeSet<u64> = (0..mm::addr::nr_pages()).map(|pfn| Pfn(pfn).mfn().0).collect();
    let free = mm::free_frames();
    let mut tally = Tally::default();
    let done = (1..=rounds).take_while(|&number| round(number, pages, &mut had, &mut tally)).count() as u64;
    let Tally { given, fresh, waits, leaks, lost } = tally;
    let whole = free == mm::free_frames();
    report(
        Role::Balloon,
        done == rounds && whole && leaks == 0 && lost == 0,
        format_args!(
            "{done} of {rounds} rounds, {given} pages given and taken, {fresh} frames never seen before, {waits} waits \
             for memory, {leaks} words of others', {lost} words lost{}",
            if whole { "" } else { ", frames missing" }
        ),
    );
}
