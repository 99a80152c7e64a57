//! Xenstore: the tree of small texts in which a guest finds what it has and is told what it is to do. A service without
//! access to the machine: bytes come from a domain's ring and go there, by the hands of [`ring`].
//!
//! It answers as Xen's xenstored does (its quotas too, as far as they are of use where no domain is privileged); the
//! messages are described in `paravane_abi::io::xenstore`.

mod change;
mod connection;
mod holdings;
mod path;
mod perms;
mod requests;
pub mod ring;
#[cfg(test)]
mod tests;
mod transaction;
mod tree;

use alloc::vec::Vec;

pub use holdings::Holdings;

use change::{Action, Caller, Change};
use connection::{Connection, Watch};
use path::Path;
use perms::{Perms, Right};
use tree::{SYSTEM, Tree};

use crate::addr::DomainId;

/// What a domain may do with a node that it finds when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read it.
    Read,
    /// Read and write it, and make nodes below.
    Own,
}

/// The service.
#[derive(Debug)]
pub struct Xenstore {
    tree: Tree,
    /// Advances with every change.
    generation: u64,
    connections: Vec<Connection>,
}

impl Default for Xenstore {
    fn default() -> Self {
        Self::new()
    }
}

impl Xenstore {
    /// With an empty tree.
    pub fn new() -> Self {
        Self { tree: Tree::new(), generation: 0, connections: Vec::new() }
    }

    /// A domain that may use it from now on. Its folder is made, readable to it, with these nodes.
    pub fn introduce<'n>(
        &mut self,
        domain: DomainId,
        nodes: impl IntoIterator<Item = (&'n str, &'n [u8], Access)>,
    ) {
        let home = Path::home(domain);
        self.set_up(&home, b"", Perms::readable_by(SYSTEM, domain));
        for (name, value, access) in nodes {
            let path = name.split('/').fold(home.clone(), |path, name| path.join(name));
            let perms = match access {
                Access::Read => Perms::readable_by(SYSTEM, domain),
                Access::Own => Perms::private(domain),
            };
            self.set_up(&path, value, perms);
        }
        self.connections.push(Connection::new(domain));
    }

    fn set_up(&mut self, path: &Path, value: &[u8], perms: Perms) {
        for action in [Action::Write(value.into()), Action::SetPerms(perms)] {
            self.change(Caller::Hypervisor, Change { path: path.clone(), action });
        }
    }

    /// Forgets a domain that is gone, and its folder.
    pub fn release(&mut self, domain: DomainId) {
        self.connections.retain(|connection| connection.domain != domain);
        self.change(Caller::Hypervisor, Change { path: Path::home(domain), action: Action::Remove });
    }

    /// Writes a node of a domain's folder in the hypervisor's name: a request to shut down, say.
    pub fn write(&mut self, domain: DomainId, name: &str, value: &[u8]) {
        let path = name.split('/').fold(Path::home(domain), |path, name| path.join(name));
        self.change(Caller::Hypervisor, Change { path, action: Action::Write(value.into()) });
    }

    /// A node of a domain's folder.
    pub fn read(&self, domain: DomainId, name: &str) -> Option<&[u8]> {
        let path = name.split('/').fold(Path::home(domain), |path, name| path.join(name));
        self.tree.get(&path).map(|node| node.value.as_slice())
    }

    /// Bytes that a domain's connection takes now.
    pub fn wants(&self, domain: DomainId) -> usize {
        self.connection(domain).map_or(0, Connection::wants)
    }

    /// Takes bytes of a domain's, at most as many as [wanted](Self::wants), and answers the request that they make whole.
    pub fn receive(&mut self, domain: DomainId, bytes: &[u8]) {
        let Some(at) = self.connections.iter().position(|known| known.domain == domain) else { return };
        self.connections[at].receive(bytes);
        if let Some((header, payload)) = self.connections[at].request() {
            let answer = self.answer(at, header, &payload);
            self.connections[at].reply(header, answer);
            self.after(at, &payload);
        }
    }

    /// Bytes for a domain; empty when there are none.
    pub fn pending(&self, domain: DomainId) -> &[u8] {
        self.connection(domain).map_or(&[], Connection::pending)
    }

    /// So many of the [pending](Self::pending) bytes were taken.
    pub fn taken(&mut self, domain: DomainId, count: usize) {
        if let Some(connection) = self.connections.iter_mut().find(|known| known.domain == domain) {
            connection.taken(count);
        }
    }

    /// Whether a domain has sent what is no message.
    pub fn broken(&self, domain: DomainId) -> bool {
        self.connection(domain).is_some_and(Connection::broken)
    }

    /// Starts a domain's connection afresh.
    pub fn reset(&mut self, domain: DomainId) {
        if let Some(connection) = self.connections.iter_mut().find(|known| known.domain == domain) {
            connection.reset();
        }
    }

    /// Domains for which something waits.
    pub fn waiting(&self) -> impl Iterator<Item = DomainId> {
        self.connections.iter().filter(|it| !it.pending().is_empty()).map(|it| it.domain)
    }

    fn connection(&self, domain: DomainId) -> Option<&Connection> {
        self.connections.iter().find(|known| known.domain == domain)
    }

    /// A change outside transactions that cannot be refused, or need not be made.
    fn change(&mut self, caller: Caller, change: Change) {
        self.generation += 1;
        if change.apply(&mut self.tree, caller, self.generation) == Ok(true) {
            self.told(&[change]);
        }
    }

    /// Tells watches of changes that were made.
    fn told(&mut self, changes: &[Change]) {
        for change in changes {
            self.fire(&change.path, change.action == Action::Remove);
        }
    }

    /// Tells those who watch a node, or one above it; with `removed`, those too who watch one below it. Who may not
    /// read it is not told (XSA-115).
    fn fire(&mut self, path: &Path, removed: bool) {
        let Self { tree, connections, .. } = self;
        for connection in connections {
            let Connection { domain, .. } = *connection;
            let (_, node) = tree.closest(path);
            if !node.perms.allow(domain, Right::Read) {
                continue;
            }
            let hears = |watch: &&Watch| {
                path.is_at_or_below(&watch.path) || removed && watch.path.is_at_or_below(path)
            };
            let events: Vec<(Vec<u8>, Vec<u8>)> = connection
                .watches
                .iter()
                .filter(hears)
                .map(|watch| {
                    let path = if path.is_at_or_below(&watch.path) { path } else { &watch.path };
                    let text = if watch.relative { path.relative_to(domain) } else { path.as_str() };
                    (text.as_bytes().to_vec(), watch.token.clone())
                })
                .collect();
            for (path, token) in events {
                connection.event(&path, &token);
            }
        }
    }
}
