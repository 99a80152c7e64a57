//! Transactions: a domain changes a tree of its own, which becomes everybody's at the end if nothing it looked at has
//! changed meanwhile.

use alloc::vec::Vec;

use paravane_abi::errno::Errno;

use super::change::{Caller, Change};
use super::path::Path;
use super::tree::Tree;

/// One under way.
#[derive(Debug)]
pub struct Transaction {
    /// Its number.
    pub id: u32,
    /// The tree as it was at the start.
    base: Tree,
    /// The tree with its changes.
    pub view: Tree,
    /// What it looked at.
    seen: Vec<Path>,
    changes: Vec<Change>,
}

/// Most changes and looks of a transaction, so that its end is a bounded step.
const STEPS_MAX: usize = 1024;

impl Transaction {
    /// A new one.
    pub fn new(id: u32, tree: &Tree) -> Self {
        Self { id, base: tree.clone(), view: tree.clone(), seen: Vec::new(), changes: Vec::new() }
    }

    /// It has looked at a node, or found it missing: then at those above it up to the first that is there.
    ///
    /// # Errors
    /// ENOSPC when it has looked at too many.
    pub fn look(&mut self, path: &Path) -> Result<(), Errno> {
        if self.seen.len() >= STEPS_MAX {
            return Err(Errno::ENOSPC);
        }
        let (closest, _) = self.base.closest(path);
        for seen in [path.clone(), closest] {
            if !self.seen.contains(&seen) {
                self.seen.push(seen);
            }
        }
        Ok(())
    }

    /// Makes a change in its own tree.
    ///
    /// # Errors
    /// As the change's.
    pub fn change(&mut self, change: Change, caller: Caller, generation: u64) -> Result<(), Errno> {
        self.look(&change.path)?;
        if change.apply(&mut self.view, caller, generation)? {
            self.changes.push(change);
        }
        Ok(())
    }

    /// Makes its changes in `tree` too, all or none, and gives them.
    ///
    /// # Errors
    /// EAGAIN when something that it looked at is another by now.
    pub fn commit(self, tree: &mut Tree, caller: Caller, generation: u64) -> Result<Vec<Change>, Errno> {
        if self.seen.iter().any(|path| tree.generation(path) != self.base.generation(path)) {
            return Err(Errno::EAGAIN);
        }
        let mut new = tree.clone();
        for change in &self.changes {
            change.apply(&mut new, caller, generation).map_err(|_| Errno::EAGAIN)?;
        }
        *tree = new;
        Ok(self.changes)
    }
}
