//! Changes of the tree.

use alloc::vec::Vec;

use paravane_abi::errno::Errno;

use super::path::Path;
use super::perms::{Perms, Right};
use super::tree::Tree;
use crate::addr::DomainId;

/// Most bytes of a node's value with its rights (xenstored's quota).
const NODE_SIZE_MAX: usize = 2048;
/// Most nodes at and below a domain's folder (xenstored's quota, there by owner).
const NODES_MAX: usize = 1000;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The hypervisor, who may do everything.
    Hypervisor,
    /// A guest.
    Domain(DomainId),
}

impl Caller {
    const fn owner(self) -> Option<DomainId> {
        match self {
            Self::Hypervisor => None,
            Self::Domain(domain) => Some(domain),
        }
    }
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A value is written, to a node that is made where it is missing.
    Write(Vec<u8>),
    /// A node is made, if it is missing.
    Make,
    /// A node goes, and all below it.
    Remove,
    /// A node gets other rights.
    SetPerms(Perms),
}

/// A change of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub path: Path,
    /// What.
    pub action: Action,
}

impl Change {
    /// Makes the change if `caller` may. Whether anything changed, so that watches are to be told.
    ///
    /// # Errors
    /// As xenstored's: EACCES, ENOENT, EINVAL for the root, EPERM for another owner, ENOSPC. Nothing has changed then.
    pub fn apply(&self, tree: &mut Tree, caller: Caller, generation: u64) -> Result<bool, Errno> {
        let path = &self.path;
        let missing = match self.permission(tree, caller) {
            Ok(()) => false,
            Err(Errno::ENOENT) => true,
            Err(error) => return Err(error),
        };
        match &self.action {
            Action::Write(value) => {
                if value.len() > NODE_SIZE_MAX {
                    return Err(Errno::ENOSPC);
                }
                if missing {
                    make(tree, path, caller, generation)?;
                }
                tree.change(path, generation, |node| node.value.clone_from(value));
            }
            Action::Make if missing => make(tree, path, caller, generation)?,
            Action::Make => return Ok(false),
            Action::Remove => {
                let (above, _) = path.parent().ok_or(Errno::EINVAL)?;
                if missing {
                    // Removing what is gone already is no mistake, if it could have been there.
                    return tree.get(&above).map(|_| false).ok_or(Errno::ENOENT);
                }
                tree.remove(path, generation);
            }
            Action::SetPerms(perms) => {
                let node = tree.get(path).ok_or(Errno::ENOENT)?;
                if caller != Caller::Hypervisor && node.perms.owner() != perms.owner() {
                    return Err(Errno::EPERM);
                }
                tree.change(path, generation, |node| node.perms = perms.clone());
            }
        }
        Ok(true)
    }

    fn permission(&self, tree: &Tree, caller: Caller) -> Result<(), Errno> {
        let right = match self.action {
            Action::SetPerms(_) => Right::Own,
            _ => Right::Write,
        };
        match caller {
            Caller::Hypervisor => tree.get(&self.path).map(|_| ()).ok_or(Errno::ENOENT),
            Caller::Domain(domain) => tree.get_for(&self.path, domain, right).map(|_| ()),
        }
    }
}

fn make(tree: &mut Tree, path: &Path, caller: Caller, generation: u64) -> Result<(), Errno> {
    if let Caller::Domain(domain) = caller {
        let (closest, _) = tree.closest(path);
        let new = path.names().count() - closest.names().count();
        let home = Path::home(domain);
        // A domain makes nodes in its own folder, or where another's lets it: they count there.
        let counted = if path.is_at_or_below(&home) { home } else { closest };
        if tree.count(&counted) + new > NODES_MAX {
            return Err(Errno::ENOSPC);
        }
    }
    tree.make(path, caller.owner(), generation);
    Ok(())
}
