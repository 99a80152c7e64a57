//! The labs, and what grading looks at: one list, from which the command line, the texts and the tests follow.

/// A lab.
#[derive(Debug)]
pub struct Lab {
    /// Its number on the command line.
    pub number: u8,
    /// Its folder in `labs`.
    pub folder: &'static str,
    /// What it is about.
    pub title: &'static str,
    /// The file to begin with, in the learner's copy.
    pub first: &'static str,
    /// How it is graded.
    pub kind: Kind,
}

/// How a lab is graded.
#[derive(Debug)]
pub enum Kind {
    /// By tests on what the learner wrote, and a boot.
    Code(Code),
    /// By what was predicted, then measured.
    Prediction,
}

/// A lab whose answer is code.
#[derive(Debug)]
pub struct Code {
    /// Tests that lie where grading replaces the learner's files, and are the learner's all the same.
    pub own: &'static [&'static str],
    /// Modules of checks: the file that is to name them, and the line. The checks lie in the lab's folder `checks`.
    pub hooks: &'static [(&'static str, &'static str)],
    /// The module that the checks are tests of, by its path in the crate.
    pub module: &'static str,
    /// Checks on what the learner wrote.
    pub checks: &'static [Check],
    /// Checks with the skeleton's hypervisor in place of the learner's: what must still be wrong there.
    pub on_skeleton: &'static [Check],
    /// What is booted in the end.
    pub boot: Option<Boot>,
}

/// A check: a test of the crate `paravane-core`.
#[derive(Debug)]
pub struct Check {
    /// The test's name, without its module.
    pub name: &'static str,
    /// What holds when it passes.
    pub about: &'static str,
    /// Where to read on when it does not.
    pub read: &'static str,
}

/// A boot of the learner's hypervisor and kernel.
#[derive(Debug)]
pub struct Boot {
    /// The check's name.
    pub name: &'static str,
    /// What holds when it passes.
    pub about: &'static str,
    /// Where to read on when it does not.
    pub read: &'static str,
    /// What `cargo xtask qemu` boots it by.
    pub arguments: &'static [&'static str],
    /// A line to type, before one that asks for a sum, which is another in each run.
    pub types: &'static str,
    /// What the answer begins with.
    pub answer: &'static str,
}

/// A check's row.
const fn check(name: &'static str, about: &'static str, read: &'static str) -> Check {
    Check { name, about, read }
}

/// The crate's tests that name the modules of checks.
const CALLS: &str = "hypervisor/core/src/calls/tests/mod.rs";
const FULL: &str = "hypervisor/core/src/full/tests/mod.rs";

/// All labs.
pub const LABS: [Lab; 4] = [
    Lab {
        number: 1,
        folder: "1-add-a-hypercall",
        title: "Add a hypercall",
        first: "pv-guest/src/lab.rs",
        kind: Kind::Code(Code {
            own: &[],
            hooks: &[(CALLS, "#[cfg(test)]\nmod lab_hypercall;")],
            module: "calls::tests::lab_hypercall",
            checks: &[
                check(
                    "the_table_has_the_row",
                    "the table of hypercalls tells of it",
                    "abi/src/table/from_29.rs",
                ),
                check("it_tells_types_and_uses", "it tells each frame's type and uses", "docs/page-types.md"),
                check(
                    "it_counts_what_changes",
                    "what it tells follows what the guest does",
                    "docs/page-types.md",
                ),
                check(
                    "wrong_requests_are_refused",
                    "flags, alignment and count are checked, in this order",
                    "LAB.md, The interface",
                ),
                check(
                    "bad_pointers_are_efault",
                    "no pointer makes it read or write where it may not",
                    "docs/soundness.md",
                ),
                check(
                    "others_frames_are_eperm",
                    "frames of others, and none, are refused alike",
                    "docs/soundness.md",
                ),
                check(
                    "a_refusal_leaves_no_trace",
                    "after a refusal nothing has changed, the list included",
                    "docs/architecture.md, Adding a hypercall",
                ),
                check(
                    "other_callers_are_refused",
                    "kernels in ring 3 and other numbers get what they got",
                    "hypervisor/core/src/calls/ring1.rs",
                ),
            ],
            on_skeleton: &[],
            boot: Some(Boot {
                name: "the_guest_asks",
                about: "the guest kernel's call is answered",
                read: "LAB.md, The guest's side",
                arguments: &["--machine", "pv-ring1"],
                types: "cat /proc/lab",
                answer: "ok lab.frame-types",
            }),
        }),
    },
    Lab {
        number: 2,
        folder: "2-break-and-repair",
        title: "Break and repair a type check",
        first: "hypervisor/core/src/calls/tests/lab_attack.rs",
        kind: Kind::Code(Code {
            own: &["hypervisor/core/src/calls/tests/lab_attack.rs"],
            hooks: &[(CALLS, "#[cfg(test)]\nmod lab_check;")],
            module: "calls::tests::lab_check",
            on_skeleton: &[check(
                "the_attack_reads_the_secret",
                "your attack reads another domain's secret on the broken hypervisor",
                "LAB.md, Step 2",
            )],
            checks: &[
                check(
                    "the_attack_is_refused",
                    "your attack fails on your hypervisor, and the books agree with the tables",
                    "LAB.md, Step 3",
                ),
                check(
                    "every_way_in_is_closed",
                    "so do its variants, by each call that writes an entry",
                    "hypervisor/core/src/pagetable/update.rs",
                ),
                check(
                    "what_is_given_up_is_given_back",
                    "a mapping made read-only gives its use back",
                    "docs/page-types.md",
                ),
                check(
                    "what_was_right_still_works",
                    "what a kernel may do it still can",
                    "hypervisor/core/src/pagetable/entry.rs",
                ),
                check(
                    "whatever_a_guest_does",
                    "after random changes the books agree with the tables",
                    "hypervisor/core/src/audit/mod.rs",
                ),
            ],
            boot: None,
        }),
    },
    Lab {
        number: 3,
        folder: "3-trap-handler",
        title: "Write a trap handler",
        first: "hypervisor/core/src/full/deliver.rs",
        kind: Kind::Code(Code {
            own: &[],
            hooks: &[(FULL, "mod lab_check;")],
            module: "full::tests::lab_check",
            checks: &[
                check(
                    "gates_are_read_and_judged",
                    "the gate is found, and refused as the manual says",
                    "SDM volume 3, 6.13 and 6.14.1",
                ),
                check(
                    "stacks_are_chosen",
                    "the stack is RSP's, RSP0's or the IST's",
                    "SDM volume 3, 6.14.2 to 6.14.5",
                ),
                check(
                    "frames_have_their_form",
                    "the frame has the right words in the right order",
                    "SDM volume 3, figure 6-9",
                ),
                check(
                    "registers_change_as_they_should",
                    "flags, selectors, mode and IF change, nothing else",
                    "SDM volume 3, 6.12.1.3",
                ),
                check(
                    "what_fails_leaves_no_trace",
                    "a delivery that fails has written and changed nothing",
                    "docs/full-virtualization.md",
                ),
                check(
                    "random_machines_agree",
                    "2000 random machines do what the reference does",
                    "the message, and SDM volume 3, chapter 6",
                ),
            ],
            on_skeleton: &[],
            boot: Some(Boot {
                name: "a_kernel_boots",
                about: "the native kernel runs programs on the machine `trap`",
                read: "docs/one-trap.md",
                arguments: &["--machine", "trap"],
                types: "cat /proc/version",
                answer: "Paravane pv-guest",
            }),
        }),
    },
    Lab {
        number: 4,
        folder: "4-predict-then-measure",
        title: "Predict, then measure",
        first: "prediction.txt",
        kind: Kind::Prediction,
    },
];

/// The lab of this number.
pub fn numbered(number: u8) -> Option<&'static Lab> {
    LABS.iter().find(|lab| lab.number == number)
}
