use super::lives::{End, Life, Model, Op, live};
use super::*;

fn life(ops: Vec<Op>, crash_at: Option<u64>, end: End) -> Life {
    Life { ops, in_flight: (Vec::new(), 0), crash_at, end }
}

/// Segments are made, sealed, freed, and one record is larger than a segment.
fn script() -> Vec<Op> {
    let append = |lens: &[usize]| Op::Append(lens.to_vec());
    vec![
        append(&[100, 200, 300]),
        append(&[400, 500]),
        append(&[150; 10]),
        Op::Free(160),
        append(&[1500, 30]),
        append(&[60; 6]),
        Op::Free(220),
        append(&[300; 4]),
    ]
}

#[test]
fn a_crash_at_any_step_loses_nothing_that_was_acked() {
    let steps = live(&SimDisk::new(), &mut Model::default(), &life(script(), None, End::Close), false);
    assert!(steps > 40, "the script does too little: {steps}");
    for step in 1..=steps {
        for seed in 0..30 {
            let (disk, mut model) = (SimDisk::new(), Model::default());
            live(&disk, &mut model, &life(script(), Some(step), End::Power(seed)), false);
            live(&disk, &mut model, &life(vec![Op::Read, Op::Append(vec![100; 3]), Op::Read], None, End::Close), false);
            live(&disk, &mut model, &life(vec![Op::Read], None, End::Close), false);
        }
    }
}

#[test]
fn a_crash_at_any_step_of_the_recovery_from_a_crash_loses_nothing_either() {
    let again = || vec![Op::Read, Op::Append(vec![100; 3]), Op::Read];
    for step in (1..70).step_by(3) {
        for second in 1..25 {
            for seed in 0..6 {
                let (disk, mut model) = (SimDisk::new(), Model::default());
                live(&disk, &mut model, &life(script(), Some(step), End::Power(seed)), false);
                live(&disk, &mut model, &life(again(), Some(second), End::Power(seed + 100)), false);
                live(&disk, &mut model, &life(again(), None, End::Power(seed)), false);
                live(&disk, &mut model, &life(again(), None, End::Close), false);
            }
        }
    }
}
