//! Which machines are booted for a choice of cases.
//!
//! All cases of one role run one after another in one boot; a case that is fatal has a domain of its own, several of which
//! share a machine.

use super::Target;
use super::catalogue::Entry;
use crate::oracle::Hypervisor;
use ::conformance::case::{Kind, Role};

/// Domains of fatal cases on one machine.
pub const FATAL_DOMAINS: usize = 16;

/// What a machine is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One domain, which runs all cases.
    DomU,
    /// Two domains, `left` and `right`, which run all cases together.
    Pair,
    /// A domain for each case.
    Fatal,
    /// The first domain of Xen runs all cases; on Paravane a domain like any other.
    Dom0,
}

/// A machine to boot, and the cases it is booted for, in the order in which they run.
#[derive(Clone, Debug)]
pub struct Job {
    /// What it is there for.
    pub shape: Shape,
    /// The cases.
    pub cases: Vec<Entry>,
}

/// The machines for these cases. Those that take longest come first.
#[must_use]
pub fn plan(cases: &[Entry]) -> Vec<Job> {
    let of =
        |shape: Shape| cases.iter().filter(|entry| shape_of(entry) == shape).copied().collect::<Vec<_>>();
    let whole = [Shape::DomU, Shape::Dom0, Shape::Pair].map(|shape| Job { shape, cases: of(shape) });
    let fatal = of(Shape::Fatal);
    let fatal = fatal.chunks(FATAL_DOMAINS).map(|cases| Job { shape: Shape::Fatal, cases: cases.to_vec() });
    whole.into_iter().filter(|job| !job.cases.is_empty()).chain(fatal).collect()
}

fn shape_of(entry: &Entry) -> Shape {
    match (entry.case.kind, entry.case.role) {
        (Kind::Fatal, _) => Shape::Fatal,
        (_, Role::DomU) => Shape::DomU,
        (_, Role::Dom0) => Shape::Dom0,
        (_, Role::Pair) => Shape::Pair,
    }
}

/// A domain of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// Its name.
    pub name: String,
    /// Its number.
    pub domid: u16,
    /// MiB.
    pub memory: u32,
    /// Virtual processors.
    pub vcpus: u32,
    /// Its command line.
    pub words: String,
}

impl Job {
    /// The numbers of the domains whose lines count for a case of this job, if there are several.
    #[must_use]
    pub fn sides(&self) -> &'static [u16] {
        if self.shape == Shape::Pair { &[LEFT, RIGHT] } else { &[] }
    }

    /// The machine's domains, which run these of the cases. `choice` are the words that choose them, and `after` the name
    /// of the last one that was run before.
    #[must_use]
    pub fn domains(&self, cases: &[Entry], choice: &[String], after: Option<&str>) -> Vec<Domain> {
        let words = |role: &str| {
            let after = after.map(|name| format!("after={name}"));
            [format!("role={role}")]
                .into_iter()
                .chain(choice.iter().cloned())
                .chain(after)
                .collect::<Vec<_>>()
                .join(" ")
        };
        let domain = |name: &str, domid, memory, vcpus, words| Domain {
            name: name.into(),
            domid,
            memory,
            vcpus,
            words,
        };
        match self.shape {
            Shape::DomU => vec![domain("domU", LEFT, WHOLE_MIB, WHOLE_VCPUS, words("domU"))],
            Shape::Dom0 => vec![domain("dom0", LEFT, WHOLE_MIB, 1, words("dom0"))],
            Shape::Pair => {
                let side = |name: &str, domid, peer| {
                    domain(name, domid, WHOLE_MIB, PAIR_VCPUS, format!("{} peer={peer}", words(name)))
                };
                vec![side("left", LEFT, RIGHT), side("right", RIGHT, LEFT)]
            }
            Shape::Fatal => (1..)
                .zip(cases)
                .map(|(domid, entry)| {
                    let words = format!("role=fatal case={}", entry.name());
                    domain(&format!("fatal{domid}"), domid, FATAL_MIB, 1, words)
                })
                .collect(),
        }
    }
}

/// The number of a domain that is alone, and of the left one of a pair.
const LEFT: u16 = 1;
/// The number of the right one.
const RIGHT: u16 = 2;

/// MiB of a domain that runs many cases.
pub const WHOLE_MIB: u32 = 32;
/// Virtual processors of a domain that runs all cases of one: some are to be left as they were when it began.
pub const WHOLE_VCPUS: u32 = 4;
/// Virtual processors of each of a pair.
pub const PAIR_VCPUS: u32 = 2;
/// MiB of a domain that runs one.
pub const FATAL_MIB: u32 = 16;

/// Processors of a machine. The first domain of Xen's sees how many there are, and is compared with what sees one.
const fn processors(shape: Shape) -> &'static str {
    match shape {
        Shape::Dom0 => "1",
        Shape::DomU | Shape::Pair | Shape::Fatal => "2",
    }
}

/// The options of `xtask qemu` for a machine with these domains.
#[must_use]
pub fn options(target: Target, shape: Shape, domains: &[Domain], kernel: &str, ramdisk: &str) -> Vec<String> {
    let mut options: Vec<String> = [
        "--hypervisor",
        target.hypervisor.name(),
        "--machine",
        target.machine.name(),
        "--smp",
        processors(shape),
    ]
    .map(str::to_owned)
    .to_vec();
    if target.hypervisor == Hypervisor::Xen && shape != Shape::Dom0 {
        options.push("--domu".into());
    }
    if domains.len() > 1 {
        // With the console at the hypervisor each line has its mark. On Paravane what comes by console_io is a message of a
        // guest's, of which few are shown by default.
        let words = match target.hypervisor {
            Hypervisor::Xen => "conswitch=ax",
            Hypervisor::Paravane => "conswitch=ax guest_loglvl=all",
        };
        options.extend(["--hypervisor-append", words].map(str::to_owned));
    }
    for domain in domains {
        let Domain { name, domid, memory, vcpus, words } = domain;
        options.push("--guest".into());
        options.push(format!(
            "{kernel},name={name},domid={domid},memory={memory}M,vcpus={vcpus},ramdisk={ramdisk},extra=\"{words}\""
        ));
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::fixture;

    #[test]
    fn every_case_has_a_machine_and_fatal_ones_a_domain() {
        let cases = fixture::entries();
        let jobs = plan(&cases);
        let shapes: Vec<(Shape, usize)> = jobs.iter().map(|job| (job.shape, job.cases.len())).collect();
        assert_eq!(shapes, [(Shape::DomU, 3), (Shape::Dom0, 1), (Shape::Pair, 2), (Shape::Fatal, 2)]);
        let many: Vec<Entry> = std::iter::repeat_n(jobs[3].cases[0], 35).collect();
        let sizes: Vec<usize> = plan(&many).iter().map(|job| job.cases.len()).collect();
        assert_eq!(sizes, [16, 16, 3]);
        assert!(plan(&[]).is_empty());
    }

    #[test]
    fn domains_are_told_what_to_run() {
        let jobs = plan(&fixture::entries());
        let words = |job: &Job, after| -> Vec<String> {
            job.domains(&job.cases, &["filter=x".to_owned()], after)
                .into_iter()
                .map(|domain| domain.words)
                .collect()
        };
        assert_eq!(words(&jobs[0], None), ["role=domU filter=x"]);
        assert_eq!(words(&jobs[0], Some("call.one/good")), ["role=domU filter=x after=call.one/good"]);
        assert_eq!(words(&jobs[2], None), ["role=left filter=x peer=2", "role=right filter=x peer=1"]);
        let fatal = jobs[3].domains(&jobs[3].cases[1..], &[], None);
        assert_eq!((fatal.len(), fatal[0].words.as_str()), (1, "role=fatal case=topic/dies-too"));
        assert_eq!((jobs[2].sides(), jobs[0].sides()), (&[1, 2][..], &[][..]));
    }

    #[test]
    fn machines_are_booted_as_they_are_needed() {
        let jobs = plan(&fixture::entries());
        let paravane = Target::RING1;
        let text = |target, job: &Job| {
            options(target, job.shape, &job.domains(&job.cases, &[], None), "/k", "/r").join(" ")
        };
        assert_eq!(
            text(paravane, &jobs[0]),
            "--hypervisor paravane --machine pv-ring1 --smp 2 \
             --guest /k,name=domU,domid=1,memory=32M,vcpus=4,ramdisk=/r,extra=\"role=domU\""
        );
        assert!(text(paravane, &jobs[2]).contains("conswitch=ax"));
        assert!(
            text(Target::XEN, &jobs[0])
                .contains("--hypervisor xen --machine pv-ring3 --smp 2 --domu --guest")
        );
        let first = text(Target::XEN, &jobs[1]);
        assert!(!first.contains("--domu") && first.contains("--smp 1"), "{first}");
    }
}
