//! A storm of NMIs, for tests (`paravane.nmi-storm=`): while guests run, the 8254 raises one every few microseconds, through
//! the I/O APIC. Where each came is counted, and of the entry code which instructions.
//!
//! It is meant for an emulator that counts instructions, where such a time passes in a guest's instructions and not
//! beside them.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use paravane_abi::ring1::{ENTRY_AREA, ENTRY_CODE_OFFSET};

use crate::cpu::local;
use crate::device::{io_apic, pit};
use crate::entry::Frame;

/// Bytes of entry code whose instructions are told apart.
const CODE: u64 = 8192;

static COUNTING: AtomicBool = AtomicBool::new(false);
static IN_GUESTS: AtomicU64 = AtomicU64::new(0);
static IN_ENTRY_CODE: AtomicU64 = AtomicU64::new(0);
static ELSEWHERE: AtomicU64 = AtomicU64::new(0);
/// A bit for each byte of entry code that an NMI came before.
static PLACES: [AtomicU64; CODE as usize / 64] = [const { AtomicU64::new(0) }; CODE as usize / 64];

/// Begins, if the command line asks for it: an NMI for this processor every so many ticks.
pub fn begin(ticks: Option<u16>) {
    let Some(ticks) = ticks else { return };
    COUNTING.store(true, Ordering::Relaxed);
    io_apic::raise_nmi(io_apic::PIN_8254, local::this().apic_id);
    pit::repeat(ticks);
}

/// Counts an NMI. It may have interrupted anything, so nothing but these counters is touched.
pub fn count(frame: &Frame) {
    if !COUNTING.load(Ordering::Relaxed) {
        return;
    }
    let offset = frame.rip.wrapping_sub(ENTRY_AREA + ENTRY_CODE_OFFSET);
    let counter = match (frame.cs & 3, offset) {
        (0, 0..CODE) => {
            PLACES[offset as usize / 64].fetch_or(1 << (offset % 64), Ordering::Relaxed);
            &IN_ENTRY_CODE
        }
        (0, _) => &ELSEWHERE,
        _ => &IN_GUESTS,
    };
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Where the NMIs came.
struct Sum;

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [guests, entry, elsewhere] =
            [&IN_GUESTS, &IN_ENTRY_CODE, &ELSEWHERE].map(|counter| counter.load(Ordering::Relaxed));
        let places: u32 = PLACES.iter().map(|word| word.load(Ordering::Relaxed).count_ones()).sum();
        let all = guests + entry + elsewhere;
        write!(f, "NMI storm: {all} arrived, {guests} in guests, {entry} at {places} instructions of the ")?;
        write!(f, "entry code, {elsewhere} elsewhere in the hypervisor")
    }
}

/// Ends it, and says what there was.
pub fn stop() {
    if COUNTING.swap(false, Ordering::Relaxed) {
        io_apic::mask(io_apic::PIN_8254);
        log::info!("{Sum}");
    }
}
