//! The tree of nodes. A copy of it costs nothing: what is changed in one is copied first, on the way from the root,
//! so that a transaction can have a tree of its own.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::path::Path;
use super::perms::{Perms, Right};
use crate::addr::DomainId;
use paravane_abi::errno::Errno;

/// Who owns what no domain does: domain 0, which need not exist.
pub const SYSTEM: DomainId = DomainId(0);

/// A node.
#[derive(Clone, Debug)]
pub struct Node {
    /// What is read and written.
    pub value: Vec<u8>,
    /// Who may.
    pub perms: Perms,
    /// When it was changed last: its value, its rights or its list of children.
    pub generation: u64,
    /// Nodes at and below it.
    count: usize,
    children: Vec<(String, Arc<Node>)>,
}

impl Node {
    fn new(perms: Perms, generation: u64) -> Self {
        Self { value: Vec::new(), perms, generation, count: 1, children: Vec::new() }
    }

    /// The names below, in the order in which they were made.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.children.iter().map(|(name, _)| name.as_str())
    }

    fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|(known, _)| known == name).map(|(_, child)| &**child)
    }

    fn recount(&mut self) {
        self.count = 1 + self.children.iter().map(|(_, child)| child.count).sum::<usize>();
    }
}

/// The tree.
#[derive(Clone, Debug)]
pub struct Tree {
    root: Arc<Node>,
}

impl Tree {
    /// With nothing but a root that everybody may read.
    pub fn new() -> Self {
        let perms = Perms::parse(b"r0\0").unwrap_or(Perms::private(SYSTEM));
        Self { root: Arc::new(Node::new(perms, 0)) }
    }

    /// A node.
    pub fn get(&self, path: &Path) -> Option<&Node> {
        path.names().try_fold(&*self.root, Node::child)
    }

    /// When a node was changed last; none where there is none.
    pub fn generation(&self, path: &Path) -> Option<u64> {
        self.get(path).map(|node| node.generation)
    }

    /// Nodes at and below a place.
    pub fn count(&self, path: &Path) -> usize {
        self.get(path).map_or(0, |node| node.count)
    }

    /// The node or, where it is missing, the closest one above it.
    pub fn closest(&self, path: &Path) -> (Path, &Node) {
        let mut at = path.clone();
        loop {
            match (self.get(&at), at.parent()) {
                (Some(node), _) => return (at, node),
                (None, Some((above, _))) => at = above,
                (None, None) => return (at, &self.root),
            }
        }
    }

    /// A node that a domain has a right to.
    ///
    /// # Errors
    /// EACCES, also where nothing is and the domain may not know that: it has no such right to the closest node above.
    /// ENOENT otherwise.
    pub fn get_for(&self, path: &Path, domain: DomainId, right: Right) -> Result<&Node, Errno> {
        let (found, node) = self.closest(path);
        if !node.perms.allow(domain, right) {
            return Err(Errno::EACCES);
        }
        if found == *path { Ok(node) } else { Err(Errno::ENOENT) }
    }

    /// Changes a node that exists, and notes when.
    pub fn change(&mut self, path: &Path, generation: u64, change: impl FnOnce(&mut Node)) {
        fn walk<'p>(
            node: &mut Arc<Node>,
            mut names: impl Iterator<Item = &'p str>,
            change: impl FnOnce(&mut Node),
        ) {
            let node = Arc::make_mut(node);
            match names.next() {
                None => change(node),
                Some(name) => {
                    if let Some((_, child)) = node.children.iter_mut().find(|(known, _)| known == name) {
                        walk(child, names, change);
                    }
                }
            }
            node.recount();
        }
        // Nothing is copied for a node that is not there.
        if self.get(path).is_some() {
            walk(&mut self.root, path.names().collect::<Vec<_>>().into_iter(), |node| {
                node.generation = generation;
                change(node);
            });
        }
    }

    /// Makes a node, and those above it that are missing. Each has the rights of the one above it; `owner` owns them,
    /// or whoever owns the one above.
    pub fn make(&mut self, path: &Path, owner: Option<DomainId>, generation: u64) {
        let mut at = Path::root();
        for name in path.names() {
            let next = at.join(name);
            if self.get(&next).is_none() {
                self.change(&at, generation, |above| {
                    let perms =
                        owner.map_or_else(|| above.perms.clone(), |owner| above.perms.owned_by(owner));
                    above.children.push((name.into(), Arc::new(Node::new(perms, generation))));
                });
            }
            at = next;
        }
    }

    /// Removes a node and what is below it.
    pub fn remove(&mut self, path: &Path, generation: u64) {
        if let Some((above, name)) = path.parent() {
            self.change(&above, generation, |node| node.children.retain(|(known, _)| known != name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    fn path(text: &str) -> Path {
        Path::parse(text.as_bytes(), DomainId(1)).unwrap()
    }

    #[test]
    fn nodes_are_made_with_those_above_them_and_counted() {
        let mut tree = Tree::new();
        tree.make(&path("/a/b/c"), Some(DomainId(5)), 3);
        tree.make(&path("/a/d"), None, 4);
        assert_eq!((tree.count(&path("/")), tree.count(&path("/a")), tree.count(&path("/x"))), (5, 4, 0));
        assert_eq!(tree.get(&path("/a")).unwrap().names().collect::<Vec<_>>(), ["b", "d"]);
        assert_eq!(tree.get(&path("/a/b/c")).unwrap().perms.text(), b"r5\0");
        assert_eq!(tree.get(&path("/a/d")).unwrap().perms.owner(), DomainId(5), "as the one above");
        let generations = ["/", "/a", "/a/b", "/a/d", "/x"].map(|text| tree.generation(&path(text)));
        assert_eq!(generations, [Some(3), Some(4), Some(3), Some(4), None]);
        tree.remove(&path("/a/b"), 5);
        assert_eq!((tree.count(&path("/a")), tree.generation(&path("/a"))), (2, Some(5)));
        tree.remove(&path("/"), 6);
        assert_eq!(tree.count(&path("/")), 3, "the root stays");
    }

    #[test]
    fn copies_go_their_own_ways() {
        let mut tree = Tree::new();
        tree.make(&path("/a"), None, 1);
        let mut other = tree.clone();
        other.change(&path("/a"), 2, |node| node.value = vec![1]);
        other.make(&path("/b"), None, 3);
        assert!(tree.get(&path("/a")).unwrap().value.is_empty() && tree.get(&path("/b")).is_none());
        assert_eq!(other.get(&path("/a")).unwrap().value, [1]);
        let before = tree.clone();
        tree.change(&path("/x"), 9, |_| panic!("there is none"));
        assert!(Arc::ptr_eq(&tree.root, &before.root));
    }

    #[test]
    fn who_may_not_look_is_not_told_what_is_missing() {
        let mut tree = Tree::new();
        tree.make(&path("/a/b"), None, 1);
        tree.change(&path("/a"), 1, |node| node.perms = Perms::private(DomainId(5)));
        let get = |text: &str, domain, right| tree.get_for(&path(text), DomainId(domain), right).map(|_| ());
        assert_eq!(get("/a/x", 5, Right::Read), Err(Errno::ENOENT));
        assert_eq!(get("/a/x", 6, Right::Read), Err(Errno::EACCES));
        assert_eq!(get("/a", 6, Right::Read), Err(Errno::EACCES));
        assert_eq!(get("/a/b", 6, Right::Read), Ok(()));
        assert_eq!(get("/x", 6, Right::Read), Err(Errno::ENOENT));
        assert_eq!(get("/x", 6, Right::Write), Err(Errno::EACCES));
    }
}
