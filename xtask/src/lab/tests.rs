use super::*;
use paravane_tests::source;

fn project() -> Project {
    let root = source::root().canonicalize().unwrap();
    Project { target: root.join("target"), cache: root.join("target"), root }
}

fn code(lab: &Lab) -> Option<&Code> {
    match &lab.kind {
        Kind::Code(code) => Some(code),
        Kind::Prediction => None,
    }
}

#[test]
fn every_lab_has_its_texts() {
    let project = project();
    for (lab, number) in LABS.iter().zip(1..) {
        assert_eq!(lab.number, number);
        let text = std::fs::read_to_string(copy::file(&project, lab, "README.md").unwrap()).unwrap();
        for section in ["# Lab ", "## Goals", "## Background", "## How it is graded", "## Questions"] {
            assert!(text.contains(section), "lab {number} has no {section}");
        }
        assert!(text.starts_with(&format!("# Lab {number}: {}", lab.title)), "lab {number}'s title");
    }
}

/// Patches rot when the code moves: here it shows, cheaply.
#[test]
fn skeletons_and_solutions_apply() {
    let project = project();
    for lab in &LABS {
        let Some(code) = code(lab) else { continue };
        let pristine = copy::pristine(&project, lab).unwrap();
        assert!(pristine.contains_key(lab.first), "{} begins with {}", lab.title, lab.first);
        let solved = copy::answered(&project, lab, &copy::solution(&project, lab).unwrap()).unwrap();
        assert_ne!(pristine, solved);
        let checks = copy::checks(&project, lab).unwrap();
        let judge = Judge { project: &project, lab, code };
        let composed = judge.compose(&pristine, &solved, &checks).unwrap();
        for check in code.checks.iter().chain(code.on_skeleton) {
            let test = format!("#[test]\nfn {}()", check.name);
            let is_test = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).contains(&test);
            assert_eq!(checks.values().filter(|bytes| is_test(bytes)).count(), 1, "{}", check.name);
        }
        for (name, bytes) in &checks {
            assert!(composed.get(name) == Some(bytes), "{name} is not what the lab's checks say");
        }
        for (file, line) in code.hooks {
            assert!(composed[*file].ends_with(format!("\n{line}\n").as_bytes()), "{file} lacks {line}");
        }
        for (name, path) in wrong_answers(lab) {
            let answered = copy::answered(&project, lab, &path).unwrap_or_else(|error| panic!("{error:#}"));
            assert!(answered != pristine && answered != solved, "{name} is not nearly right");
            let check = name.split('.').nth(1).unwrap_or_default();
            let mut all = code.checks.iter().chain(code.on_skeleton);
            // As a line of the report names it.
            assert!(all.any(|it| Line::ok(it.name, it.about).name == check), "{name} names no check");
        }
    }
}

/// Answers that are nearly right, `LAB.CHECK.patch`: of a lab, with their names.
fn wrong_answers(lab: &Lab) -> Vec<(String, PathBuf)> {
    let files = source::files(&source::root().join("labs/solutions/wrong"), &[".patch"]);
    let named =
        files.into_iter().map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), path));
    named.filter(|(name, _)| name.split('.').next() == Some(&lab.number.to_string())).collect()
}

/// One that is no lab's would never be graded.
#[test]
fn every_wrong_answer_is_a_labs() {
    let all = source::files(&source::root().join("labs/solutions/wrong"), &[".patch"]).len();
    let graded: Vec<usize> =
        LABS.iter().filter(|lab| code(lab).is_some()).map(|lab| wrong_answers(lab).len()).collect();
    assert!(graded.iter().all(|count| *count > 0), "{graded:?}");
    assert_eq!(graded.iter().sum::<usize>(), all);
}

/// A learner finds no solution in a copy, and no check; and what grading takes of a copy are no tests but their own.
#[test]
fn solutions_and_tests_stay_out_of_the_way() {
    let project = project();
    for lab in &LABS {
        let Some(code) = code(lab) else { continue };
        let mut files = copy::pristine(&project, lab).unwrap();
        assert!(!files.keys().any(|name| name.starts_with("labs/") || name.contains("lab_check")));
        let pristine = files.clone();
        let world = "hypervisor/core/src/calls/tests/world.rs".to_owned();
        files.insert(world.clone(), b"meddled with".to_vec());
        files.insert("Cargo.toml".to_owned(), b"meddled with".to_vec());
        code.own.iter().for_each(|name| _ = files.insert((*name).to_owned(), b"mine".to_vec()));
        let judge = Judge { project: &project, lab, code };
        let composed = judge.compose(&pristine, &files, &Tree::new()).unwrap();
        assert_eq!(composed[&world], pristine[&world]);
        assert_eq!(composed["Cargo.toml"], pristine["Cargo.toml"]);
        assert!(code.own.iter().all(|name| composed[*name] == b"mine"));
    }
}

#[test]
fn a_folder_that_is_no_copy_is_left_alone() {
    let folder = std::env::temp_dir().join(format!("paravane-lab-{}", std::process::id()));
    let lab = &LABS[0];
    assert!(!copy::is_started(&folder, lab).unwrap(), "nothing there");
    std::fs::create_dir_all(&folder).unwrap();
    assert!(!copy::is_started(&folder, lab).unwrap(), "an empty folder");
    std::fs::write(folder.join("thesis.txt"), "years of work").unwrap();
    let error = copy::is_started(&folder, lab).unwrap_err();
    assert_eq!(stop::status_of(&error), Status::Usage);
    assert!(copy::discard(&folder, lab).is_err() && folder.join("thesis.txt").exists());
    let checks = Tree::from([("check.rs".to_owned(), Vec::new())]);
    copy::start(&folder, &LABS[1], &Tree::new(), &checks).unwrap();
    // What it was made from is kept, and no part of it.
    assert_eq!(copy::base(&folder).unwrap(), (Tree::new(), checks));
    assert!(tree::read(&folder).unwrap().is_empty());
    assert!(copy::is_started(&folder, &LABS[1]).unwrap());
    assert!(copy::is_started(&folder, lab).is_err(), "another lab's");
    copy::discard(&folder, &LABS[1]).unwrap();
    assert!(!folder.exists());
}
