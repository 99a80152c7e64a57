//! The page walk in a crash report.

use super::GuestMemory;
use crate::addr::{Level, Mfn, VirtAddr};
use crate::frame::{FrameInfo, FrameTable};
use crate::memory::Memory;
use crate::pagetable::Pte;
use core::fmt;

/// One level of a walk.
#[derive(Clone, Copy, Debug)]
pub struct WalkLine {
    /// The table's level.
    pub level: Level,
    /// The table.
    pub table: Mfn,
    /// The entry's index.
    pub index: usize,
    /// The entry.
    pub entry: Pte,
    /// What is known of the frame the entry names.
    pub target: Option<FrameInfo>,
}

/// A walk for printing: everything that is there, whatever it means for an access. It changes nothing,
/// and stops at the first entry that is not present or leaves RAM.
#[derive(Clone, Copy, Debug)]
pub struct WalkReport {
    /// The address.
    pub address: u64,
    /// The levels reached, from the root.
    pub lines: [Option<WalkLine>; 4],
}

impl WalkReport {
    /// Walks `address` from `root`.
    pub fn new(frames: &FrameTable, memory: &impl Memory, root: Mfn, address: u64) -> Self {
        let mut lines = [None; 4];
        let mut table = root;
        if let Some(va) = VirtAddr::guest(address) {
            for (line, level) in lines.iter_mut().zip(Level::DOWN) {
                // Only RAM can be read, and only a frame of the right type is worth it.
                if frames.info(table).and_then(|info| info.kind().level()) != Some(level) {
                    break;
                }
                let index = va.slot(level);
                let entry = Pte(memory.read_word(table, index));
                let target = if entry.present() { frames.info(entry.frame()).copied() } else { None };
                *line = Some(WalkLine { level, table, index, entry, target });
                if !entry.present() {
                    break;
                }
                table = entry.frame();
            }
        }
        Self { address, lines }
    }
}

impl<M: Memory> GuestMemory<'_, M> {
    /// The walk of an address, for printing.
    pub fn walk_report(&self, address: u64) -> WalkReport {
        WalkReport::new(self.frames, self.machine, self.root, address)
    }
}

impl fmt::Display for WalkReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "page walk of {:#018x}:", self.address)?;
        if !VirtAddr::is_guest(self.address) {
            return writeln!(f, "  not an address a guest can use");
        }
        for line in self.lines.iter().flatten() {
            write!(f, "  {:?}[{:3}] in {}: {:?}", line.level, line.index, line.table, line.entry)?;
            for (bit, name) in [
                (Pte::P, " P"),
                (Pte::RW, " RW"),
                (Pte::US, " US"),
                (Pte::A, " A"),
                (Pte::D, " D"),
                (Pte::NX, " NX"),
            ] {
                if line.entry.has(bit) {
                    f.write_str(name)?;
                }
            }
            if let Some(target) = line.target {
                let uses = target.type_count();
                write!(f, " -> {:?} {:?} x{uses}, {} refs", target.owner(), target.kind(), target.refs())?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
