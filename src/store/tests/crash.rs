//! Crashes below the real code: the disk fails at every single operation, and power is cut with any
//! part of what was not synced written.

use std::io::ErrorKind;

use super::faulty::Faulty;
use super::script::{Content, Expected, N_STEPS, open_on, run};

/// A disk with a new, empty store, and the number of its operations so far.
fn fresh_disk() -> Vec<u8> {
    let disk = Faulty::default();
    drop(open_on(&disk).unwrap());
    disk.after_kill()
}

#[tokio::test]
async fn every_step_of_the_script_changes_something() {
    let Expected(contents) = Expected::by_a_run_without_faults().await;
    assert_eq!(contents.len(), N_STEPS + 1);
    // Or else a lost step would not be noticed. A claim is undone by the restart but for its attempt.
    let same = contents.windows(2).position(|two: &[Content]| two[0] == two[1]);
    assert_eq!(same, None);
}

/// Fails every operation in turn; what the process wrote, and what was synced, must both do.
#[tokio::test]
async fn nothing_acknowledged_is_lost_when_any_operation_fails() {
    let expected = Expected::by_a_run_without_faults().await;
    let empty = fresh_disk();
    for n_succeed in 0.. {
        let disk = Faulty::holding(empty.clone());
        let fail = || disk.fail_after(n_succeed, ErrorKind::Other);
        let n_acknowledged = run(&disk, fail, || {}).await;
        if !disk.has_failed() {
            assert_eq!(n_acknowledged, N_STEPS);
            assert!(n_succeed > 300, "the script is to have many operations, not {n_succeed}");
            return;
        }
        for (image, what) in [(disk.after_kill(), "written"), (disk.durable(), "synced")] {
            let told = format!("operation {n_succeed} failed, what was {what}");
            expected.check(n_acknowledged, &Faulty::holding(image), &told);
        }
    }
}

/// Cuts the power at random moments, several images of each.
async fn power_cuts(seed: u64, n_cuts: usize, images_a_cut: usize) {
    let expected = Expected::by_a_run_without_faults().await;
    let empty = fresh_disk();
    let mut random = fastrand::Rng::with_seed(seed);
    let n_operations = n_operations(&empty).await;
    for cut in 0..n_cuts {
        let disk = Faulty::holding(empty.clone());
        let n_succeed = random.usize(0..n_operations);
        let n_acknowledged = run(&disk, || disk.fail_after(n_succeed, ErrorKind::Other), || {}).await;
        for _ in 0..images_a_cut {
            let image = Faulty::holding(disk.after_power_cut(&mut random));
            let told = format!("seed {seed}, cut {cut} after {n_succeed} operations");
            if random.f64() < 0.3 {
                // A second cut, while the first is being recovered from.
                image.fail_after(random.usize(0..40), ErrorKind::Other);
                drop(open_on(&image));
                let image = Faulty::holding(image.after_power_cut(&mut random));
                expected.check(n_acknowledged, &image, &format!("{told}, then again while opening"));
            } else {
                expected.check(n_acknowledged, &image, &told);
            }
        }
    }
}

/// Writes, resizes and syncs of the whole script.
async fn n_operations(empty: &[u8]) -> usize {
    let disk = Faulty::holding(empty.to_vec());
    let mut before = 0;
    run(&disk, || before = disk.n_operations(), || {}).await;
    disk.n_operations() - before
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_the_power_is_cut() {
    power_cuts(1, 120, 8).await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_the_power_is_cut_elsewhere() {
    power_cuts(2, 120, 8).await;
}
